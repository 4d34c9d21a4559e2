//! Status codes as metrics name them.
//!
//! Invariant: the number of names has a bound, because a backend may answer with any number: at most 63 codes, five classes and one name
//! for the rest.

use std::fmt;

/// A status code that is registered with IANA or means something to this proxy; any other one by its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusLabel {
    /// The code.
    Code(u16),
    /// Its first digit, from 1 to 5.
    Class(u16),
    /// A number of no class (RFC 9110 §15).
    Other,
}

impl StatusLabel {
    /// Returns the name of a code.
    pub fn of(code: u16) -> Self {
        match code {
            // The registry of RFC 9110 §16.2, without what it calls unused; and a client that went away.
            100..=104
            | 200..=208
            | 226
            | 300..=305
            | 307
            | 308
            | 400..=417
            | 421..=426
            | 428
            | 429
            | 431
            | 451
            | 499
            | 500..=508
            | 510
            | 511 => Self::Code(code),
            100..=599 => Self::Class(code / 100),
            _ => Self::Other,
        }
    }
}

/// Classes are written so that a pattern such as `5..` matches them too.
impl fmt::Display for StatusLabel {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => code.fmt(out),
            Self::Class(class) => write!(out, "{class}xx"),
            Self::Other => out.write_str("_OTHER"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn all_codes_together_have_few_names() {
        let names: BTreeSet<String> = (0..=u16::MAX).map(|code| StatusLabel::of(code).to_string()).collect();
        assert_eq!(names.len(), 63 + 5 + 1);
        let name = |code| StatusLabel::of(code).to_string();
        assert_eq!([200, 404, 499, 503].map(name), ["200", "404", "499", "503"]);
        assert_eq!(
            [199, 299, 306, 418, 599, 600, 999].map(name),
            ["1xx", "2xx", "3xx", "4xx", "5xx", "_OTHER", "_OTHER"]
        );
    }
}
