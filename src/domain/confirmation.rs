//! An apply that waits for its confirmation: it is taken back at its deadline, unless somebody confirms it.
//!
//! The confirmation belongs to the session and ends with it. Its id is all that is needed to confirm, so that it has 128
//! random bits.

use std::fmt;
use std::sync::Arc;

use super::{Config, Error, RouteId, Span, Time};

/// The id of a confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConfirmationId(Arc<str>);

impl ConfirmationId {
    /// Creates an id. `nonce` must be 128 random bits.
    pub fn new(nonce: u128) -> Self {
        Self(format!("{nonce:032x}").into())
    }

    /// Takes a text as an id, which may be that of no confirmation.
    pub fn restore(text: &str) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConfirmationId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The time within which an apply must be confirmed: 1 s to 24 h.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmWithin(Span);

impl ConfirmWithin {
    const MIN: Span = Span::from_secs(1);
    const MAX: Span = Span::from_secs(24 * 60 * 60);

    /// Checks the bounds.
    ///
    /// # Errors
    /// `Invalid` outside of them.
    pub fn new(span: Span) -> Result<Self, Error> {
        if (Self::MIN..=Self::MAX).contains(&span) {
            return Ok(Self(span));
        }
        Err(Error::invalid("confirm_within", "must be 1s to 24h"))
    }

    /// Returns the time.
    pub fn span(self) -> Span {
        self.0
    }
}

/// Numbers of requests, and of those among them whose answer was 5xx.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// The number of requests.
    pub requests: u64,
    /// The number of answers with a status of 500 to 599.
    pub failed: u64,
}

impl Failures {
    /// Returns the sum.
    #[must_use]
    pub fn plus(self, other: Failures) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            failed: self.failed.saturating_add(other.failed),
        }
    }

    /// Returns what came after `start`. If the counts are lower, they began anew.
    #[must_use]
    pub fn since(self, start: Failures) -> Self {
        if self.requests < start.requests || self.failed < start.failed {
            return self;
        }
        Self { requests: self.requests - start.requests, failed: self.failed - start.failed }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, failed } = *self;
        let thousandths = u128::from(failed) * 1000 / u128::from(requests.max(1));
        write!(out, "{failed} of {requests} ({}.{} %)", thousandths / 10, thousandths % 10)
    }
}

/// The guard of an apply: it watches the share of 5xx on the routes that the apply touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The numbers of these routes before the apply.
    pub before: Failures,
    /// Each of these routes, with the counts at which traffic after the apply begins.
    pub routes: Arc<[(RouteId, Failures)]>,
}

/// An apply that waits for its confirmation.
#[derive(Clone, Debug, PartialEq)]
pub struct Confirmation {
    /// Its id.
    pub id: ConfirmationId,
    /// The revision that waits.
    pub number: u64,
    /// The revision to restore; 0 for the empty configuration.
    pub previous: u64,
    /// The configuration to restore.
    pub before: Config,
    /// The deadline.
    pub until: Time,
    /// The guard, if the caller asked for one.
    pub guard: Option<Guard>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_takes_between_a_second_and_a_day() {
        for (millis, is_good) in [(999, false), (1_000, true), (86_400_000, true), (86_400_001, false)] {
            assert_eq!(ConfirmWithin::new(Span::from_millis(millis)).is_ok(), is_good, "{millis}");
        }
    }

    #[test]
    fn counts_that_begin_anew_are_all_after_the_start() {
        let counts = |requests, failed| Failures { requests, failed };
        assert_eq!(counts(120, 7).since(counts(100, 5)), counts(20, 2));
        assert_eq!(counts(20, 2).since(counts(100, 5)), counts(20, 2));
        assert_eq!(counts(12, 60).to_string(), "60 of 12 (500.0 %)");
        assert_eq!(counts(60, 13).to_string(), "13 of 60 (21.6 %)");
        assert_eq!(Failures::default().to_string(), "0 of 0 (0.0 %)");
    }
}
