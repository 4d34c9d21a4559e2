//! The id of a request, which its answer, its backend and the log name: `X-Request-Id`, or the trace of a `traceparent`.
//!
//! Invariants: an id consists of visible characters that mean nothing in JSON, HTML or a header field, so it can be written anywhere as
//! it is. Only a trusted peer can name it.

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::peer::Peer;
use super::trace_context::trace_parent;

/// The field that carries the id of a request.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The most bytes of an id that a trusted peer names.
const ID_BYTES_MAX: usize = 128;

/// The id of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestId {
    /// A trusted peer has named it.
    Named(HeaderValue),
    /// It is a number: of the trace, or made here.
    Number(u128),
}

impl RequestId {
    /// Returns the id that a trusted peer names, or else the one that `made` returns.
    pub fn of(headers: &HeaderMap, peer: &Peer, made: impl FnOnce() -> u128) -> Self {
        if !peer.trusted {
            return Self::Number(made());
        }
        // Several lines are a list, as several ids in one line are (RFC 9110 §5.3), and a list is no id.
        let mut lines = headers.get_all(X_REQUEST_ID).iter();
        let only = lines.next().filter(|_| lines.next().is_none());
        let named = only.filter(|id| is_fit(id.as_bytes()));
        named.map_or_else(
            || Self::Number(trace_parent(headers).map_or_else(made, |parent| parent.trace)),
            |id| Self::Named(id.clone()),
        )
    }

    /// Returns the id as the value of a field.
    pub fn value(&self) -> HeaderValue {
        match self {
            Self::Named(value) => value.clone(),
            // The digits of a number are always a valid value.
            Self::Number(number) => HeaderValue::from_bytes(&digits(*number)).unwrap_or(HeaderValue::from_static("0")),
        }
    }

    /// Returns the id as text, all ASCII, which is written to `room` unless a peer named it.
    pub fn text<'a>(&'a self, room: &'a mut [u8; 32]) -> &'a [u8] {
        match self {
            Self::Named(value) => value.as_bytes(),
            Self::Number(number) => {
                *room = digits(*number);
                room
            }
        }
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // All characters of a named id are ASCII.
            Self::Named(value) => out.write_str(value.to_str().unwrap_or_default()),
            Self::Number(number) => write!(out, "{number:032x}"),
        }
    }
}

fn is_fit(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.iter().all(is_plain)
}

/// Returns a number as 32 hexadecimal digits. It makes eight digits at once: each request needs some.
fn digits(number: u128) -> [u8; 32] {
    const ONES: u64 = u64::MAX / 255;
    let mut digits = [0; 32];
    for (eight, part) in digits.as_chunks_mut().0.iter_mut().zip(number.to_be_bytes().as_chunks().0) {
        // One byte for each digit: first its value, then its character.
        let mut word = u64::from(u32::from_be_bytes(*part));
        word = (word | word << 16) & 0x0000_FFFF_0000_FFFF;
        word = (word | word << 8) & 0x00FF_00FF_00FF_00FF;
        word = (word | word << 4) & 0x0F0F_0F0F_0F0F_0F0F;
        let is_letter = ((word + ONES * 6) >> 4) & ONES;
        word += ONES * u64::from(b'0') + is_letter * u64::from(b'a' - b'9' - 1);
        *eight = word.to_be_bytes();
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(trusted: bool, fields: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let peer = Peer { trusted, ..Peer::new("10.0.0.1".parse().unwrap(), &[]) };
        let id = RequestId::of(&headers, &peer, || 0xabc);
        assert_eq!(id.value(), id.to_string());
        assert_eq!(id.text(&mut [0; 32]), id.to_string().as_bytes());
        id.to_string()
    }

    const MADE: &str = "00000000000000000000000000000abc";
    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn only_a_trusted_peer_names_an_id() {
        assert_eq!(id(true, &[("x-request-id", "a-1")]), "a-1");
        assert_eq!(id(false, &[("x-request-id", "a-1")]), MADE);
        assert_eq!(id(true, &[]), MADE);
        assert_eq!(id(true, &[("traceparent", PARENT)]), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(id(true, &[("traceparent", PARENT), ("x-request-id", "a-1")]), "a-1");
        assert_eq!(id(false, &[("traceparent", PARENT)]), MADE);
    }

    #[test]
    fn a_number_is_written_in_hexadecimal_digits() {
        for number in [0, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210, u128::MAX, 0xf0f0 << 112, 0x9a << 60] {
            let id = RequestId::Number(number);
            assert_eq!(id.text(&mut [0; 32]), format!("{number:032x}").as_bytes());
        }
    }

    #[test]
    fn an_id_that_could_be_read_as_anything_else_is_not_taken_over() {
        let long = "a".repeat(ID_BYTES_MAX + 1);
        for named in ["", "a b", "a\"b", "a\\b", "a<b", "a,b", "a;b", "a\tb", "caf\u{e9}", &*long] {
            assert_eq!(id(true, &[("x-request-id", named)]), MADE, "{named:?}");
        }
        assert_eq!(id(true, &[("x-request-id", &"a".repeat(ID_BYTES_MAX))]), "a".repeat(ID_BYTES_MAX));
        assert_eq!(id(true, &[("x-request-id", "of-a-client"), ("x-request-id", "of-the-proxy")]), MADE);
    }
}
