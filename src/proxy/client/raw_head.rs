//! The heads of requests as they came.
//!
//! hyper silently drops a `Content-Length` beside a `Transfer-Encoding`, but such a request must be refused. A refusal
//! looks here for the form that the client accepts, so that other requests need no copy. Invariants: a head that was not kept whole
//! is never used, nor is the head of another request; bodies are skipped, not kept.

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Uri, Version};

use crate::proxy::client::framing::BodyFraming;
use crate::proxy::client::framing::BodyLength;
use crate::proxy::client::framing::FramingError;
use crate::proxy::limits::FIELDS_MAX;

/// The heads of requests as they came.
#[derive(Debug, Default)]
pub(crate) struct RawHeads {
    /// The head of the current request; empty if it was not kept.
    current: Vec<u8>,
    /// The bytes behind the current request.
    next: Vec<u8>,
    /// The body of the current request, while some of it is to come.
    body: Option<BodyFraming>,
    // The start of the next head is not known any more.
    lost: bool,
}

/// The value of a field, if the head has it.
pub(crate) type RawField = Option<Vec<u8>>;

/// The most bytes of a method that is told of a refused head.
const METHOD_BYTES_MAX: usize = 32;
/// Stands for a method that cannot be read.
const UNREADABLE: &[u8] = b"-";

impl RawHeads {
    const BYTES_MAX: usize = 128 * 1024;

    /// Keeps bytes that came.
    ///
    /// # Errors
    /// [`FramingError`] if they cannot belong to the body that is to come.
    pub(crate) fn keep(&mut self, mut bytes: &[u8]) -> Result<(), FramingError> {
        if self.lost {
            return Ok(());
        }
        if let Some(body) = &mut self.body {
            let Some(rest) = body.pass(bytes)? else { return Ok(()) };
            self.body = None;
            bytes = rest;
        }
        if self.next.len() + bytes.len() > Self::BYTES_MAX {
            // hyper reads no further ahead than this.
            self.lose();
        } else {
            self.next.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Makes the next head the current one; a body of `length` follows it.
    ///
    /// # Errors
    /// [`FramingError`] if the bytes behind the head cannot be that body, or its end cannot be found.
    pub(crate) fn advance(&mut self, length: BodyLength) -> Result<(), FramingError> {
        self.current.clear();
        if self.body.take().is_some() {
            // hyper took an earlier place for the end of the body.
            self.lose();
        }
        if self.lost {
            return if length == BodyLength::Chunked { Err(FramingError) } else { Ok(()) };
        }
        let blank = self.next.len() - self.next.trim_ascii_start().len();
        let end = head_end(self.next.get(blank..).unwrap_or_default()).map_or(0, |end| blank + end);
        if end == self.next.len() {
            std::mem::swap(&mut self.current, &mut self.next);
        } else {
            self.current.extend(self.next.drain(..end));
        }
        if end == 0 {
            self.lose();
        }
        self.body = BodyFraming::of(length);
        if self.body.is_none() {
            return Ok(());
        }
        let next = std::mem::take(&mut self.next);
        self.keep(&next)
    }

    /// Stops keeping heads on this connection.
    pub(crate) fn lose(&mut self) {
        self.next = Vec::new();
        self.lost = true;
    }

    /// True while nothing of a next head has come, as far as is known.
    pub(crate) fn is_between(&self) -> bool {
        self.body.is_none() && self.next.trim_ascii_start().is_empty()
    }

    /// True if the current request has come whole, as far as is known.
    pub(crate) fn is_whole(&self) -> bool {
        self.body.is_none() && !self.lost
    }

    /// True if the next head has come whole.
    pub(crate) fn has_next(&self) -> bool {
        self.is_whole() && head_end(self.next.trim_ascii_start()).is_some()
    }

    /// True if the current head was kept.
    pub(crate) fn keeps_current(&self) -> bool {
        !self.current.is_empty()
    }

    /// Returns a field of the current head as it came; `None` if the head was not kept.
    pub(crate) fn field(&self, method: &Method, name: &str) -> Option<RawField> {
        let head = self.current(method)?;
        let value = head.split(|byte| *byte == b'\n').find_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let (found, value) = line.split_at(colon);
            let same = found.eq_ignore_ascii_case(name.as_bytes());
            same.then(|| value.get(1..).unwrap_or_default().trim_ascii().to_vec())
        });
        Some(value)
    }

    /// Reads of the next head, which was refused, what can be read.
    pub(crate) fn refused(&self) -> Parts {
        let (mut head, ()) = Request::new(()).into_parts();
        let mut lines = self.next.trim_ascii_start().split(|byte| *byte == b'\n');
        let mut words = lines.next().unwrap_or_default().trim_ascii_end().split(|byte| *byte == b' ');
        let method = words.next().filter(|word| word.len() <= METHOD_BYTES_MAX);
        let method = method.and_then(|word| Method::from_bytes(word).ok());
        head.method = method.or_else(|| Method::from_bytes(UNREADABLE).ok()).unwrap_or_default();
        head.uri = words.next().and_then(|word| Uri::try_from(word).ok()).unwrap_or(Uri::from_static("*"));
        if words.next() == Some(b"HTTP/1.0") {
            head.version = Version::HTTP_10;
        }
        let fields = lines.take_while(|line| !line.trim_ascii().is_empty()).take(FIELDS_MAX);
        for (name, value) in fields.filter_map(|line| line.split_at_checked(memchr::memchr(b':', line)?)) {
            let value = value.get(1..).unwrap_or_default().trim_ascii();
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                head.headers.append(name, value);
            }
        }
        head
    }

    /// Returns the current head if it is one of `method`; else part of it was not kept.
    fn current(&self, method: &Method) -> Option<&[u8]> {
        let head = self.current.trim_ascii_start();
        let target = head.strip_prefix(method.as_str().as_bytes())?;
        target.starts_with(b" ").then_some(head)
    }
}

/// Returns the end of the empty line after a head. A line may end without a carriage return (RFC 9112 §2.2).
fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match bytes.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(bytes: &str, length: BodyLength) -> RawHeads {
        let mut heads = RawHeads::default();
        heads.keep(bytes.as_bytes()).unwrap();
        heads.advance(length).unwrap();
        heads
    }

    #[test]
    fn a_field_is_found_in_the_head_of_the_request_and_nowhere_else() {
        let asks = |bytes: &str| {
            let found = heads(bytes, BodyLength::Known(3)).field(&Method::POST, "content-length");
            found.map(|value| value.map(|value| String::from_utf8(value).unwrap().trim().to_owned()))
        };
        assert_eq!(asks("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"), Some(Some("3".into())));
        assert_eq!(asks("\r\nPOST / HTTP/1.1\nHost: a\ncontent-length:3\n\n"), Some(Some("3".into())));
        assert_eq!(asks("POST / HTTP/1.1\r\nhost: a\r\n\r\n3\r\ncontent-length: 3\r\n\r\n"), Some(None));
        assert_eq!(asks("ost: a\r\n\r\n"), None, "the rest of a head whose beginning was not kept");
        assert_eq!(asks("POST / HTTP/1.1\r\nhost: a\r\n"), None);
    }

    #[test]
    fn requests_are_passed_one_by_one_and_can_be_read_again() {
        let mut heads = heads(
            "GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nPOST /3 HTTP/1.1\r\nx: 1\r\n\r\nbody",
            BodyLength::None,
        );
        assert_eq!(heads.field(&Method::GET, "x"), Some(None));
        heads.advance(BodyLength::None).unwrap();
        assert_eq!(heads.field(&Method::GET, "x"), Some(None));
        heads.advance(BodyLength::Known(4)).unwrap();
        assert_eq!(heads.field(&Method::POST, "x"), Some(Some(b"1".to_vec())));
        assert!(heads.next.is_empty(), "a body is not kept");
    }

    #[test]
    fn bytes_behind_a_body_are_the_next_head() {
        let head = "POST / HTTP/1.1\r\ncontent-length: 18\r\n\r\n";
        let mut heads = heads(head, BodyLength::Known(18));
        heads.keep(b"GET /1 HTTP/1.1\r\n").unwrap();
        heads.keep(b"\nGET /2 HTTP/1.1\r\nx: 1\r\n\r\n").unwrap();
        assert!(heads.keeps_current(), "a body does not take its head away");
        heads.advance(BodyLength::None).unwrap();
        assert_eq!(heads.field(&Method::GET, "x"), Some(Some(b"1".to_vec())));
    }

    #[test]
    fn what_can_be_read_of_a_refused_head_is_told() {
        let told = |bytes: &str| {
            let mut heads = RawHeads::default();
            heads.keep(bytes.as_bytes()).unwrap();
            let head = heads.refused();
            let fields = head.headers.iter().map(|(name, value)| format!("{name}={}", value.to_str().unwrap()));
            (head.method.to_string(), head.uri.to_string(), fields.collect::<Vec<_>>().join(" "))
        };
        for (bytes, method, uri, fields) in [
            ("GET /a?b HTTP/9\r\nHost: a\r\nb ad: 1\r\nx\r\ny: \0\r\nz:2\r\n\r\nv: 1", "GET", "/a?b", "host=a z=2"),
            ("\r\nG(T /a\r\n", "-", "/a", ""),
            ("hello", "hello", "*", ""),
            ("", "-", "*", ""),
        ] {
            assert_eq!(told(bytes), (method.to_owned(), uri.to_owned(), fields.to_owned()), "{bytes:?}");
        }
        assert_eq!(told(&"A".repeat(33)).0, "-");
        for (word, version) in [("HTTP/1.0", Version::HTTP_10), ("HTTP/1.1", Version::HTTP_11)] {
            let mut heads = RawHeads::default();
            heads.keep(format!("GET / {word}\r\nb ad: 1\r\n\r\n").as_bytes()).unwrap();
            assert_eq!(heads.refused().version, version);
        }
    }

    #[test]
    fn a_body_that_cannot_be_followed_is_refused() {
        let mut next = heads("GET / HTTP/1.1\r\n\r\n", BodyLength::None);
        next.keep(b"POST / HTTP/1.1\r\n\r\n0\r\n\nGET / HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(next.advance(BodyLength::Chunked), Err(FramingError));
        let mut later = heads("POST / HTTP/1.1\r\n\r\n0\r\n", BodyLength::Chunked);
        assert_eq!(later.keep(b"\n"), Err(FramingError));
        let mut lost = RawHeads::default();
        lost.lose();
        assert_eq!(lost.advance(BodyLength::Known(1)), Ok(()));
        assert_eq!(lost.advance(BodyLength::Chunked), Err(FramingError), "its end cannot be found");
    }
}
