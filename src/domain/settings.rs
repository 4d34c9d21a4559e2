//! The settings for a route or a session: headers, options, health checks, rate limits and breakers.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use super::{Error, HealthPath, Span};

/// The name of a response header, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderKey(Arc<str>);

/// Header fields that frame the message or belong to the connection. Setting them would break it (RFC 9110 §7.6.1).
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
    /// Reads a field name (RFC 9110 §5.1) that does not belong to the connection.
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

    /// Returns the name in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key that sorts before every other. It names no header.
    pub fn first() -> Self {
        Self("".into())
    }
}

impl fmt::Display for HeaderKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The maximum number of bytes of a header's or option's value.
pub const VALUE_BYTES_MAX: usize = 8 * 1024;

/// Checks a header's value, which may be empty (RFC 9110 §5.5).
///
/// # Errors
/// `Invalid` for control characters and for more than 8 KiB.
pub fn header_value(text: &str) -> Result<Arc<str>, Error> {
    if text.len() > VALUE_BYTES_MAX || http::HeaderValue::try_from(text).is_err() {
        return Err(Error::invalid("value", "needs at most 8192 bytes of text without control characters"));
    }
    Ok(text.into())
}

/// The key of an option, known or unknown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OptionKey(Arc<str>);

impl OptionKey {
    /// Reads 1 to 128 visible characters. [`super::Options`] decides on their meaning.
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

    /// Returns the key as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the key that sorts before every other. It names no option.
    pub fn first() -> Self {
        Self("".into())
    }
}

impl fmt::Display for OptionKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// The health check of a route's backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The path of the request.
    pub path: HealthPath,
    /// The time from one check to the next.
    pub interval: Span,
    /// The maximum time until the answer.
    pub timeout: Span,
}

impl HealthCheck {
    /// The shortest interval. Ten checks a second find a failure within a third of a second at a bounded cost.
    pub const INTERVAL_MIN: Span = Span::from_millis(100);
    /// The longest timeout in effect.
    pub const TIMEOUT_MAX: Span = Span::from_secs(60);

    /// Checks that the interval is long enough and the timeout is not zero.
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

/// Checks that an interval between health checks is long enough.
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

/// Returns the timeout in effect: at most the interval and [`HealthCheck::TIMEOUT_MAX`].
///
/// Longer timeouts are accepted because clients send them, but a silent backend must not occupy a check for so long.
pub fn acting_timeout(interval: Span, timeout: Span) -> Span {
    timeout.min(interval).min(HealthCheck::TIMEOUT_MAX)
}

/// A rate limit for each client of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// The number of requests per window, from 1.
    pub requests: u32,
    /// The length of the window.
    pub window: Span,
}

/// The states of a circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    #[default]
    Closed,
    /// Requests are refused.
    Open,
    /// Some requests pass as a trial.
    HalfOpen,
}

impl BreakerState {
    /// All states.
    pub const ALL: [BreakerState; 3] = [BreakerState::Closed, BreakerState::Open, BreakerState::HalfOpen];

    /// Returns the name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
        }
    }
}

impl fmt::Display for BreakerState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// The settings of a circuit breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// The number of consecutive failures that open the breaker, from 1.
    pub threshold: u32,
    /// The time that the breaker stays open.
    pub timeout: Span,
    /// The number of trial requests that must all succeed to close the breaker, from 1.
    pub half_open_requests: u32,
}

/// Reads a count from 1 to a million.
///
/// # Errors
/// `Invalid` for zero, for more, or for no number.
pub fn count(field: &'static str, text: &str) -> Result<u32, Error> {
    text.parse()
        .ok()
        .filter(|count| (1..=1_000_000).contains(count))
        .ok_or_else(|| Error::invalid(field, "must be a whole number from 1 to 1000000"))
}
