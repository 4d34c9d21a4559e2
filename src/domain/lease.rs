//! Leases: how long a session lives without a sign of life.
//!
//! A lease says nothing about signs of life; the registry knows those. Invariant: a lease is at least a second.

use std::fmt;

use super::{Error, Kind, Span};

/// The time that a session lives without a sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// This long.
    For(Span),
    /// Until it is ended.
    Permanent,
}

/// The shortest lease.
const SHORTEST: Span = Span::from_secs(1);
/// The longest lease that is not permanent: a thousand years.
const LONGEST: Span = Span::from_secs(8_766_000 * 3_600);
/// The word for a lease without an end.
const PERMANENT: &str = "permanent";

impl Lease {
    /// Reads a duration as [`Span::parse`] does, from a second to a thousand years, or `permanent`.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text == PERMANENT {
            return Ok(Lease::Permanent);
        }
        let shown = super::time::shortened(text);
        let advice = "write a duration such as 90s, 30m or 24h, or permanent";
        let wrong = |why: &str| Error::invalid("lease", format!("`{shown}` {why}; {advice}"));
        match Span::parse_within(text, Span::from_millis(u64::MAX)) {
            Ok(span) if span < SHORTEST => Err(wrong("is too short, the shortest is 1s")),
            Ok(span) if span > LONGEST => Err(wrong("is too long, the longest is 8766000h")),
            Ok(span) => Ok(Lease::For(span)),
            Err(_) => Err(wrong("is no lease")),
        }
    }

    /// Returns the duration; `None` if the lease is permanent.
    pub fn span(self) -> Option<Span> {
        match self {
            Lease::For(span) => Some(span),
            Lease::Permanent => None,
        }
    }
}

/// Writes the lease so that [`Lease::parse`] reads it back.
impl fmt::Display for Lease {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lease::For(span) => span.fmt(out),
            Lease::Permanent => out.write_str(PERMANENT),
        }
    }
}

/// The leases that a registration may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseBound {
    /// Any lease.
    #[default]
    Any,
    /// At most this long, none that is permanent.
    AtMost(Span),
    /// None: all sessions live for the grace period.
    Nothing,
}

impl LeaseBound {
    /// Reads the longest lease, or `none`.
    ///
    /// # Errors
    /// `Invalid` for anything else.
    pub fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "none" => Ok(LeaseBound::Nothing),
            _ => match Lease::parse(text) {
                Ok(Lease::Permanent) => Ok(LeaseBound::Any),
                Ok(Lease::For(span)) => Ok(LeaseBound::AtMost(span)),
                Err(error) => Err(Error::invalid("lease_max", format!("{}, or none", error.message()))),
            },
        }
    }

    /// Refuses a lease that is out of the bound. `whose` sets the bound.
    ///
    /// # Errors
    /// `Denied`, with the bound in words.
    pub fn check(self, lease: Lease, whose: &str) -> Result<(), Error> {
        let allowed = match (self, lease) {
            (LeaseBound::Any, _) => return Ok(()),
            (LeaseBound::AtMost(most), Lease::For(span)) if span <= most => return Ok(()),
            (LeaseBound::AtMost(most), _) => format!("the longest lease that it allows is {most}"),
            (LeaseBound::Nothing, _) => "it allows none; leave the lease out".to_owned(),
        };
        Err(Error::new(Kind::Denied, format!("{whose} does not allow the lease {lease}; {allowed}")).about("lease"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_read_as_it_is_written() {
        for (text, written) in
            [("24h", "24h0m0s"), ("1s", "1s"), ("90", "1m30s"), ("876000h", "876000h0m0s"), ("permanent", "permanent")]
        {
            let lease = Lease::parse(text).unwrap();
            assert_eq!((lease.to_string().as_str(), Lease::parse(written)), (written, Ok(lease)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_lease_is_refused_with_words_that_say_what_to_write() {
        for (wrong, why) in [
            ("", "`` is no lease; write a duration such as 90s, 30m or 24h, or permanent"),
            ("Permanent", "is no lease"),
            ("forever", "is no lease"),
            ("1 day", "is no lease"),
            ("0", "is no lease"),
            ("-5s", "is no lease"),
            ("999ms", "`999ms` is too short, the shortest is 1s; write"),
            ("8766001h", "is too long, the longest is 8766000h; write"),
            ("99999999999999999999", "is no lease"),
        ] {
            let error = Lease::parse(wrong).unwrap_err();
            assert!(error.to_string().starts_with("lease: ") && error.to_string().contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_bound_holds_for_longer_leases_and_for_permanent_ones() {
        let bound = |text: &str| LeaseBound::parse(text).unwrap();
        let refusal = |max: &str, lease: &str| {
            bound(max).check(Lease::parse(lease).unwrap(), "token a").err().map(|error| error.to_string())
        };
        assert_eq!((refusal("24h", "24h"), refusal("permanent", "permanent")), (None, None));
        let expected = |lease: &str| {
            Some(format!(
                "lease: token a does not allow the lease {lease}; the longest lease that it allows is 24h0m0s"
            ))
        };
        assert_eq!(refusal("24h", "876000h"), expected("876000h0m0s"));
        assert_eq!(refusal("24h", "permanent"), expected("permanent"));
        assert!(refusal("none", "1s").unwrap().ends_with("it allows none; leave the lease out"));
        assert!(LeaseBound::parse("soon").unwrap_err().to_string().ends_with("or permanent, or none"));
    }
}
