//! What can be set for a route or a session beside its routes: headers, options, health, limits, breakers.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use super::{Error, HealthPath, Span};

/// The name of a response header, lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderKey(Arc<str>);

/// Fields that frame the message or belong to the connection: setting them would break it (RFC 9110 §7.6.1).
const FRAMING: [&str; 9] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

impl HeaderKey {
    /// Takes a field name (RFC 9110 §5.1) that is not one of the connection's own.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let name = HeaderName::try_from(text).ok().filter(|name| name.as_str().len() <= 128).ok_or_else(|| {
            if text.contains(' ') {
                return Error::invalid("name", "may not hold a space; for example X-Frame-Options");
            }
            Error::invalid("name", "is not a header name; write X-Frame-Options")
        })?;
        if FRAMING.contains(&name.as_str()) {
            return Err(Error::invalid("name", format!("{name} belongs to the connection and cannot be set")));
        }
        Ok(Self(name.as_str().into()))
    }

    /// The name, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Sorts before every other; names nothing.
    pub fn first() -> Self {
        Self("".into())
    }
}

/// The most bytes of a header's or option's value.
pub const VALUE_BYTES_MAX: usize = 8 * 1024;

/// Checks a header's value: text, which may be empty (RFC 9110 §5.5).
///
/// # Errors
/// `Invalid` for control characters, more than 8 KiB.
pub fn header_value(text: &str) -> Result<Arc<str>, Error> {
    if text.len() > VALUE_BYTES_MAX || http::HeaderValue::try_from(text).is_err() {
        return Err(Error::invalid("value", "needs at most 8192 bytes of text without control characters"));
    }
    Ok(text.into())
}

/// The key of an option, known or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OptionKey(Arc<str>);

impl OptionKey {
    /// Takes 1 to 128 visible characters; whether it means anything is for [`super::Options`] to say.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let hidden = |c: char| c.is_control() || c.is_whitespace();
        if text.is_empty() || text.len() > 128 || text.chars().any(hidden) {
            return Err(Error::invalid("key", "needs 1 to 128 visible characters without spaces"));
        }
        Ok(Self(text.into()))
    }

    /// The key as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Sorts before every other; names nothing.
    pub fn first() -> Self {
        Self("".into())
    }
}

impl fmt::Display for OptionKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// How a route's backend is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for.
    pub path: HealthPath,
    /// From one check to the next.
    pub interval: Span,
    /// The time that an answer may take.
    pub timeout: Span,
}

impl HealthCheck {
    /// The shortest interval: at ten checks a second a failure is known after a third of one, and what they cost is still bounded.
    pub const INTERVAL_MIN: Span = Span::from_millis(100);
    /// The longest timeout that acts.
    pub const TIMEOUT_MAX: Span = Span::from_secs(60);

    /// Looks whether its interval is long enough and its timeout not nothing.
    ///
    /// # Errors
    /// `Invalid` if not.
    pub fn bounded(&self) -> Result<(), Error> {
        check_interval("interval", self.interval)?;
        if self.timeout.millis() == 0 {
            return Err(Error::invalid("timeout", "is zero; at least 1ms is needed"));
        }
        Ok(())
    }
}

/// An interval between health checks that is long enough.
///
/// # Errors
/// `Invalid` below [`HealthCheck::INTERVAL_MIN`].
pub(super) fn check_interval(field: &'static str, interval: Span) -> Result<Span, Error> {
    if interval >= HealthCheck::INTERVAL_MIN {
        return Ok(interval);
    }
    let least = HealthCheck::INTERVAL_MIN;
    Err(Error::invalid(field, format!("{interval} between health checks is too short; at least {least} is needed")))
}

/// The timeout by which a health check acts: what is set, but at most the interval and [`HealthCheck::TIMEOUT_MAX`]. A longer one is
/// taken, for clients send it; a backend that says nothing must not hold a place among the checks for so long.
pub fn acting_timeout(interval: Span, timeout: Span) -> Span {
    timeout.min(interval).min(HealthCheck::TIMEOUT_MAX)
}

/// `requests` in each `window` from one client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// From 1.
    pub requests: u32,
    /// The time that the budget lasts.
    pub window: Span,
}

/// What a circuit breaker does with requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// They pass.
    #[default]
    Closed,
    /// They are refused.
    Open,
    /// Some pass, as a trial.
    HalfOpen,
}

impl BreakerState {
    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

/// When a backend is left alone, and when it is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Consecutive failures that open it, from 1.
    pub threshold: u32,
    /// The time that it stays open.
    pub timeout: Span,
    /// Trial requests that must all succeed to close it, from 1.
    pub half_open_requests: u32,
}

/// Reads a count from 1 to a million.
///
/// # Errors
/// `Invalid` for zero, more, or no number.
pub fn count(field: &'static str, text: &str) -> Result<u32, Error> {
    text.parse()
        .ok()
        .filter(|count| (1..=1_000_000).contains(count))
        .ok_or_else(|| Error::invalid(field, "must be a whole number from 1 to 1000000"))
}
