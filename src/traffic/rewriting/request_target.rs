//! Percent-encoding of bytes that clients send in a request target though they are not allowed there.
//!
//! Quotes, braces, backslashes, raw UTF-8 and Latin-1 are not allowed in a target (RFC 3986 §2), but clients send them.
//! Invariants: only the target of a request line changes, and it only becomes longer.

/// The position in a request line that may arrive in several parts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetEncoder {
    /// The request line is complete, or none is expected.
    #[default]
    Done,
    /// The request line has not begun.
    Start,
    /// The method has begun.
    Method,
    /// The target has begun.
    Target,
}

impl TargetEncoder {
    /// Returns the next bytes with the forbidden ones of the target percent-encoded; `None` if they stay as they are.
    pub fn encode(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if *self == Self::Done {
            return None;
        }
        let is_blank = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let blank = if *self == Self::Start { bytes.iter().take_while(is_blank).count() } else { 0 };
        let line = bytes.get(blank..)?;
        let end = memchr::memchr(b'\n', line).unwrap_or(line.len());
        let (line, _) = line.split_at(end);
        let from = if *self == Self::Target { Some(0) } else { memchr::memchr(b' ', line).map(|space| space + 1) };
        let method = if *self == Self::Target { &[] } else { line.get(..from.unwrap_or(end)).unwrap_or_default() };
        if line.is_empty() && blank == bytes.len() {
            return None;
        }
        let ended = blank + end < bytes.len();
        // Bytes without a method, those of TLS for example, are no request.
        let is_request = method.trim_ascii_end().iter().all(u8::is_ascii_uppercase);
        *self = match from {
            _ if ended || !is_request => Self::Done,
            Some(_) => Self::Target,
            None => Self::Method,
        };
        let target = line.get(from?..).filter(|_| is_request)?;
        if !target.iter().any(|byte| is_foreign(*byte)) {
            return None;
        }
        let (before, after) = (bytes.get(..blank + method.len())?, bytes.get(blank + end..)?);
        Some([before, &encoded(target), after].concat())
    }
}

/// Returns the target with the bytes percent-encoded that are not allowed in one; `None` if it stays as it is.
pub fn percent_encoded(target: &str) -> Option<String> {
    // `encoded` leaves no byte that is not ASCII.
    target.bytes().any(is_foreign).then(|| String::from_utf8(encoded(target.as_bytes())).unwrap_or_default())
}

fn is_foreign(byte: u8) -> bool {
    byte >= 0x80 || matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}')
}

fn encoded(target: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(target.len() * 3);
    for byte in target {
        if is_foreign(*byte) {
            out.extend(format!("%{byte:02X}").bytes());
        } else {
            out.push(*byte);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(parts: &[&[u8]]) -> String {
        let mut line = TargetEncoder::Start;
        let parts = parts.iter().map(|part| line.encode(part).unwrap_or_else(|| part.to_vec()));
        String::from_utf8_lossy(&parts.collect::<Vec<_>>().concat()).into_owned()
    }

    #[test]
    fn forbidden_bytes_are_percent_encoded_in_the_target_alone() {
        let head = "GET /\"{<x>}`|\\^caf\u{e9}?q=\u{e9}[] HTTP/1.1\r\nx: <\"\u{e9}\">\r\n\r\n";
        let expected = "GET /%22%7B%3Cx%3E%7D%60%7C%5C%5Ecaf%C3%A9?q=%C3%A9[] HTTP/1.1\r\nx: <\"\u{e9}\">\r\n\r\n";
        assert_eq!(passed(&[head.as_bytes()]), expected);
        for cut in 0..head.len() {
            let (one, other) = head.as_bytes().split_at(cut);
            assert_eq!(passed(&[one, other]), expected, "cut at {cut}");
        }
        assert_eq!(passed(&[b"GET /caf\xe9 HTTP/1.1\r\n\r\n"]), "GET /caf%E9 HTTP/1.1\r\n\r\n");
        assert_eq!(passed(&[b"\r\n", b"\r\nGET /| HTTP/1.1\r\n\r\n"]), "\r\n\r\nGET /%7C HTTP/1.1\r\n\r\n");
    }

    #[test]
    fn nothing_else_is_touched() {
        for plain in
            ["GET /a[b]?c=%20 HTTP/1.1\r\nx: <>\r\n\r\n", "name: |x|\r\nother: <>\r\n\r\n", "{|} {|}\r\n", "\r\n"]
        {
            assert_eq!(passed(&[plain.as_bytes()]), plain);
        }
    }
}
