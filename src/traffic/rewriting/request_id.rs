//! The id of a request, which its answer, its backend and the log name: `X-Request-Id`, or the trace of a `traceparent`.
//!
//! Invariants: an id consists of visible characters that mean nothing in JSON, HTML or a header field, so it can be written anywhere as
//! it is. Only a trusted peer can name it.

use std::fmt;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::peer::Peer;

/// The field that carries the id of a request.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The field that carries the trace of a request (W3C Trace Context §3.2).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

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
        let named = headers.get(X_REQUEST_ID).filter(|id| is_fit(id.as_bytes()));
        named.map_or_else(|| Self::Number(trace_id(headers).unwrap_or_else(made)), |id| Self::Named(id.clone()))
    }

    /// Returns the id as the value of a field.
    pub fn value(&self) -> HeaderValue {
        match self {
            Self::Named(value) => value.clone(),
            // The digits of a number are always a valid value.
            Self::Number(number) => HeaderValue::from_bytes(&digits(*number)).unwrap_or(HeaderValue::from_static("0")),
        }
    }

    /// Returns the id as text, which is written to `room` unless a peer named it.
    pub fn text<'a>(&'a self, room: &'a mut [u8; 32]) -> &'a str {
        match self {
            // All characters of a named id are ASCII.
            Self::Named(value) => value.to_str().unwrap_or_default(),
            Self::Number(number) => {
                *room = digits(*number);
                std::str::from_utf8(room).unwrap_or_default()
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

/// The span of a peer that a request belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace; not 0.
    pub trace: u128,
    /// The span of the peer; not 0.
    pub span: u64,
    /// True if the peer records its span.
    pub is_sampled: bool,
}

impl TraceParent {
    /// Returns it as the value of a `traceparent` field.
    pub fn value(self) -> HeaderValue {
        let Self { trace, span, is_sampled } = self;
        let text = format!("00-{trace:032x}-{span:016x}-0{}", u8::from(is_sampled));
        // Digits and hyphens are always a valid value.
        HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
    }
}

/// Returns the trace id of a `traceparent` field; `None` without a valid one.
fn trace_id(headers: &HeaderMap) -> Option<u128> {
    trace_parent(headers).map(|parent| parent.trace)
}

/// Reads a `traceparent` field (W3C Trace Context §3.2.2); `None` without a valid one.
pub fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let (line, None) = (lines.next()?.as_bytes(), lines.next()) else { return None };
    let is_hex = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let part = |from: usize, to: usize| line.get(from..to).filter(|part| is_hex(part));
    let hyphens = [2, 35, 52].iter().all(|at| line.get(*at) == Some(&b'-'));
    let number = |part: &[u8]| u128::from_str_radix(std::str::from_utf8(part).ok()?, 16).ok();
    let (version, trace, span, flags) = (part(0, 2)?, number(part(3, 35)?)?, part(36, 52)?, number(part(53, 55)?)?);
    let has_rest = line.len() > 55;
    let is_known = version != b"ff" && (!has_rest || (version != b"00" && line.get(55) == Some(&b'-')));
    let span = number(span).and_then(|span| u64::try_from(span).ok())?;
    let parent = TraceParent { trace, span, is_sampled: flags & 1 == 1 };
    (hyphens && is_known && trace != 0 && span != 0).then_some(parent)
}

fn is_fit(id: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(byte);
    (1..=ID_BYTES_MAX).contains(&id.len()) && id.iter().all(is_plain)
}

/// Returns a number as 32 hexadecimal digits.
fn digits(number: u128) -> [u8; 32] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        // Both indexes are below 16, and a chunk has two bytes.
        (pair[0], pair[1]) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
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
        assert_eq!(id.text(&mut [0; 32]), id.to_string());
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
    fn an_id_that_could_be_read_as_anything_else_is_not_taken_over() {
        let long = "a".repeat(ID_BYTES_MAX + 1);
        for named in ["", "a b", "a\"b", "a\\b", "a<b", "a,b", "a;b", "a\tb", "caf\u{e9}", &*long] {
            assert_eq!(id(true, &[("x-request-id", named)]), MADE, "{named:?}");
        }
        assert_eq!(id(true, &[("x-request-id", &"a".repeat(ID_BYTES_MAX))]), "a".repeat(ID_BYTES_MAX));
    }

    #[test]
    fn a_trace_is_read_as_its_specification_says() {
        let read = |line: &str| {
            let headers = HeaderMap::from_iter([(TRACEPARENT, HeaderValue::from_str(line).unwrap())]);
            trace_id(&headers).is_some()
        };
        assert!(read(PARENT));
        let own = TraceParent { trace: 0xabc, span: 0xdef, is_sampled: true };
        let headers = HeaderMap::from_iter([(TRACEPARENT, own.value())]);
        assert_eq!(trace_parent(&headers), Some(own));
        let later = PARENT.replacen("00", "01", 1);
        assert!(read(&later) && read(&format!("{later}-more")) && !read(&format!("{later}more")));
        for line in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert!(!read(line), "{line}");
        }
    }
}
