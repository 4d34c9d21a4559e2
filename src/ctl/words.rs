//! Durations on the command line, in the form that the domain knows, and in words.

use std::time::Duration;

use crate::domain::Span;

use super::failure::CtlFailure;

/// Reads a duration of a flag.
///
/// # Errors
/// `Usage`, with the flag and the form of durations.
pub(super) fn span(flag: &str, text: &str) -> Result<Duration, CtlFailure> {
    Span::parse(text).map(Span::std).map_err(|error| CtlFailure::usage(format!("{flag}: {}", error.message())))
}

/// Returns a limit of time in words.
pub(super) fn limit(of: Duration) -> String {
    if of.subsec_millis() == 0 { format!("{} s", of.as_secs()) } else { format!("{} ms", of.as_millis()) }
}
