//! Reads words of the command line whose form the domain knows.

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
