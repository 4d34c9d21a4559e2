//! The `Expect` field of a request (RFC 9110 §10.1.1).

use http::HeaderMap;
use http::header::EXPECT;

/// The expectation that a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// The client sends the body unasked.
    None,
    /// The client sends the body once it is asked for it.
    Continue,
    /// Anything else. hyper would not ask for the body, and the client would wait in vain.
    Unknown,
}

/// Returns the expectation of a request with these fields.
pub(crate) fn expectation(headers: &HeaderMap) -> Expectation {
    headers.get_all(EXPECT).iter().fold(Expectation::None, |before, value| match value.as_bytes() {
        b"" if before == Expectation::None => Expectation::None,
        value if value.eq_ignore_ascii_case(b"100-continue") && before != Expectation::Unknown => Expectation::Continue,
        _ => Expectation::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_100_continue_is_understood() {
        let expected = |values: &[&'static str]| {
            expectation(&values.iter().map(|value| (EXPECT, http::HeaderValue::from_static(value))).collect())
        };
        for none in [&[][..], &[""]] {
            assert_eq!(expected(none), Expectation::None, "{none:?}");
        }
        for asked in [&["100-continue"][..], &["100-Continue"], &["100-continue", "100-CONTINUE"]] {
            assert_eq!(expected(asked), Expectation::Continue, "{asked:?}");
        }
        for unknown in [
            &["200-ok"][..],
            &["100-continue, x"],
            &["x, 100-continue"],
            &["100-continue, 100-continue"],
            &["100-continue;q=1"],
            &["100-continue="],
            &["100 continue"],
            &[","],
            &["100-continue", "x"],
            &["x", "100-continue"],
            &["100-continue", ""],
            &["x", ""],
        ] {
            assert_eq!(expected(unknown), Expectation::Unknown, "{unknown:?}");
        }
    }
}
