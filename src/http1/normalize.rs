//! The normalization of response heads that are irregular but have one meaning only.
//!
//! It replaces control bytes in values, joins folded lines, corrects versions and status lines, and removes transfer codings
//! without effect (`identity`) or given twice. Lines that are no fields are dropped. Invariants: a regular
//! head is not copied; an irregular `Content-Length`, `Transfer-Encoding` or `Connection` line makes the response fail, because
//! another reader may give it another meaning.

const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";
/// The fields that decide the length of the message and the use of the connection. They must have one meaning.
const FRAMING: [&[u8]; 3] = [b"content-length", TRANSFER_ENCODING, b"connection"];

/// Returns the index of the first byte after the head at the beginning of `bytes`. Returns `None` if the head is incomplete.
pub(super) fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).enumerate().find_map(|(line, at)| {
        // A blank line before the status line does not end the head (RFC 9112 §2.2).
        let is_blank = line == 0 && at <= 1;
        match bytes.get(at + 1..).unwrap_or_default() {
            [b'\n', ..] if !is_blank => Some(at + 2),
            [b'\r', b'\n', ..] if !is_blank => Some(at + 3),
            _ => None,
        }
    })
}

/// True if the bytes can be the beginning of a response.
pub(super) fn may_be_http(bytes: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"HTTP/1.";
    let received = bytes.trim_ascii_start();
    let length = received.len().min(BEGINNING.len());
    received.get(..length) == BEGINNING.get(..length)
}

fn is_chunked(value: &[u8]) -> bool {
    value.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

const fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

/// A line of a head, with the folded lines after it joined to it.
struct FieldLine {
    bytes: Vec<u8>,
    // True if it was folded or has control bytes.
    is_irregular: bool,
}

impl FieldLine {
    fn name(&self) -> &[u8] {
        self.bytes.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii_end()
    }

    fn value(&self) -> &[u8] {
        memchr::memchr(b':', &self.bytes).and_then(|at| self.bytes.get(at + 1..)).unwrap_or_default()
    }

    fn is(&self, name: &[u8]) -> bool {
        self.name().eq_ignore_ascii_case(name)
    }

    /// True if it may be a field of [`FRAMING`] and has more than one meaning.
    fn is_ambiguous(&self) -> bool {
        let bare: Vec<u8> = self.name().iter().copied().filter(|byte| is_token(*byte)).collect();
        (self.is_irregular || bare.len() < self.name().len())
            && FRAMING.iter().any(|name| bare.eq_ignore_ascii_case(name))
    }

    fn is_field(&self) -> bool {
        self.bytes.contains(&b':') && !self.name().is_empty() && self.name().iter().all(|byte| is_token(*byte))
    }

    fn clean(&self) -> impl Iterator<Item = u8> {
        self.bytes.iter().map(|byte| if is_control(*byte) { b' ' } else { *byte })
    }
}

/// True for the bytes of a field name (RFC 9110 §5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A head after normalization.
pub(super) struct NormalizedHead {
    /// The head.
    pub(super) head: Vec<u8>,
    /// The number of its fields.
    pub(super) fields: usize,
}

/// Normalizes a whole head. Returns `None` if the head has more than one meaning.
pub(super) fn normalize(head: &[u8]) -> Option<NormalizedHead> {
    let lines = lines(head)?;
    let (status, fields) = lines.split_first()?;
    if fields.iter().any(FieldLine::is_ambiguous) {
        return None;
    }
    let fields = || fields.iter().filter(|line| line.is_field());
    let coding_lines: Vec<&FieldLine> = fields().filter(|line| line.is(TRANSFER_ENCODING)).collect();
    let codings = coding_lines.iter().flat_map(|line| line.value().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let has_meaning = |coding: &&[u8]| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity");
    let codings: Vec<&[u8]> = codings.filter(has_meaning).collect();
    // The reader of the head refuses all other codings.
    let is_known = codings.iter().all(|coding| is_chunked(coding));
    let is_old = status.bytes.starts_with(b"HTTP/1.0");
    let is_plain = !is_old && coding_lines.len() == 1 && coding_lines.iter().all(|line| is_chunked(line.value()));
    let replaces_codings = is_known && !is_plain && !coding_lines.is_empty();
    let mut normalized = Vec::with_capacity(head.len() + 64);
    normalized.extend(status_line(&status.bytes, replaces_codings));
    for line in fields().filter(|line| !(replaces_codings && line.is(TRANSFER_ENCODING))) {
        normalized.extend(line.clean());
        normalized.extend_from_slice(b"\r\n");
    }
    if replaces_codings {
        // The connection is closed, so that no bytes after this message are read as another response.
        normalized.extend_from_slice(if codings.is_empty() { b"" } else { b"transfer-encoding: chunked\r\n" });
        normalized.extend_from_slice(b"connection: close\r\n");
    }
    normalized.extend_from_slice(b"\r\n");
    Some(NormalizedHead { head: normalized, fields: fields().count() })
}

/// Returns a status line with one space before and after the status, and the version HTTP/1.0 or 1.1. A later minor version is
/// read as 1.1 (RFC 9110 §2.5). With `is_new`, an HTTP/1.0 response becomes 1.1 too, so that its transfer coding is read.
fn status_line(line: &[u8], is_new: bool) -> Vec<u8> {
    let version: &[u8] = if line.starts_with(b"HTTP/1.0") && !is_new { b"HTTP/1.0 " } else { b"HTTP/1.1 " };
    let at = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let rest = line.get(at..).unwrap_or_default().trim_ascii_start();
    let (status, reason) = rest.split_at(rest.len().min(3));
    let clean = reason.iter().map(|byte| if is_control(*byte) { b' ' } else { *byte });
    version.iter().chain(status).copied().chain(clean).chain(*b"\r\n").collect()
}

/// The fields that belong to the connection or to a final response, and are not passed on with an interim one.
const NOT_INTERIM: [&[u8]; 9] = [
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"upgrade",
    b"proxy-authenticate",
    b"content-length",
    TRANSFER_ENCODING,
];

/// Returns an interim head as it is passed on (RFC 9110 §15.2). Returns `None` for a 100, which the proxy sends itself.
pub(crate) fn interim_for_client(head: &[u8]) -> Option<Vec<u8>> {
    let lines = lines(head)?;
    let status = lines.first().map(|line| line.bytes.as_slice()).filter(|status| status.starts_with(b"HTTP/1.1 1"))?;
    if status.starts_with(b"HTTP/1.1 100") {
        return None;
    }
    let is_passed = |line: &&FieldLine| line.is_field() && !NOT_INTERIM.iter().any(|name| line.is(name));
    let mut passed = Vec::with_capacity(head.len());
    for line in lines.iter().take(1).chain(lines.iter().skip(1).filter(is_passed)) {
        passed.extend(line.clean());
        passed.extend_from_slice(b"\r\n");
    }
    passed.extend_from_slice(b"\r\n");
    Some(passed)
}

/// Returns the lines of a head without their ends. Returns `None` if the first field line is folded, because it continues nothing.
fn lines(head: &[u8]) -> Option<Vec<FieldLine>> {
    let mut lines: Vec<FieldLine> = Vec::new();
    for line in head.trim_ascii_start().split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        let has_controls = line.iter().any(|byte| is_control(*byte));
        if line.starts_with(b" ") || line.starts_with(b"\t") {
            let is_first = lines.len() < 2;
            let folded = lines.last_mut().filter(|_| !is_first)?;
            folded.bytes.push(b' ');
            folded.bytes.extend_from_slice(line.trim_ascii());
            folded.is_irregular = true;
        } else {
            lines.push(FieldLine { bytes: line.to_vec(), is_irregular: has_controls });
        }
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "HTTP/1.1 200 OK\r\n";

    fn normalized(fields: &str) -> String {
        let normalized = normalize(format!("{STATUS}{fields}\r\n").as_bytes()).expect(fields).head;
        String::from_utf8(normalized).unwrap().strip_prefix(STATUS).unwrap().strip_suffix("\r\n").unwrap().to_owned()
    }

    #[test]
    fn a_head_ends_with_a_blank_line() {
        for head in ["\r\n", "x: y\r\n\r\n", "x: y\n\n", "x: a\r\n b\r\n\r\n"] {
            let bytes = format!("{STATUS}{head}");
            for rest in ["", "body: \r\n \r\n\r\n"] {
                assert_eq!(head_end(format!("{bytes}{rest}").as_bytes()), Some(bytes.len()), "{head:?}");
            }
            assert_eq!(head_end(&bytes.as_bytes()[..bytes.len() - 1]), None, "{head:?}");
        }
        assert_eq!(head_end(b"\r\nHTTP/1.1 200 OK\r\n\r\n"), Some(21), "a blank line before it");
    }

    #[test]
    fn an_irregular_head_with_one_meaning_is_normalized() {
        for (irregular, regular) in [
            ("x: a\u{1}b\0c\r\n", "x: a b c\r\n"),
            ("x: a\rb\r\n", "x: a b\r\n"),
            ("x: a\u{7f}\r\ny: 1\r\n", "x: a \r\ny: 1\r\n"),
            ("x: a\r\n\tb\r\n   c\r\ny: 1\r\n", "x: a b c\r\ny: 1\r\n"),
            ("x: a\r\n b\r\nTransfer-Encoding: chunked\r\n", "x: a b\r\nTransfer-Encoding: chunked\r\n"),
            ("Transfer-Encoding: identity\r\ncontent-length: 2\r\n", "content-length: 2\r\nconnection: close\r\n"),
            ("x: \u{1}\r\nnone\r\n: y\r\nX@Y(: z\r\n", "x:  \r\n"),
            ("transfer-encoding:\r\n", "connection: close\r\n"),
            (
                "Transfer-Encoding: chunked\r\nx: y\r\ntransfer-encoding: Chunked\r\n",
                "x: y\r\ntransfer-encoding: chunked\r\nconnection: close\r\n",
            ),
            ("transfer-encoding : chunked, chunked\r\n", "transfer-encoding: chunked\r\nconnection: close\r\n"),
            ("transfer-encoding: identity,chunked\r\n", "transfer-encoding: chunked\r\nconnection: close\r\n"),
        ] {
            assert_eq!(normalized(irregular), regular, "{irregular:?}");
        }
    }

    #[test]
    fn status_lines_are_normalized() {
        for (irregular, regular) in [
            ("HTTP/1.1  200   OK\r\n\r\n", "HTTP/1.1 200   OK\r\n\r\n"),
            ("HTTP/1.2 404 Not Found\n\n", "HTTP/1.1 404 Not Found\r\n\r\n"),
            ("\r\nHTTP/1.0  204\r\n\r\n", "HTTP/1.0 204\r\n\r\n"),
            ("HTTP/1.1 200 O\u{7}K\r\nx: y\r\n\r\n", "HTTP/1.1 200 O K\r\nx: y\r\n\r\n"),
            (
                "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
            ),
        ] {
            assert_eq!(
                String::from_utf8(normalize(irregular.as_bytes()).unwrap().head).unwrap(),
                regular,
                "{irregular:?}"
            );
        }
    }

    #[test]
    fn a_head_with_two_meanings_is_refused() {
        for irregular in [
            "content-length: 5\0\r\n",
            "content-length: 5\r\n 0\r\n",
            "Transfer-Encoding:\r\n chunked\r\n",
            "transfer-encoding: \u{b}chunked\r\n",
            "connection: close\u{1}\r\n",
            "content-length\u{b}: 5\r\n",
            "Transfer\u{1}-Encoding: chunked\r\n",
            " folded: 1\r\n",
        ] {
            assert!(normalize(format!("{STATUS}{irregular}\r\n").as_bytes()).is_none(), "{irregular:?}");
        }
        assert_eq!(normalized("transfer-encoding: gzip, chunked\r\n"), "transfer-encoding: gzip, chunked\r\n");
    }

    #[test]
    fn an_interim_head_is_passed_on_without_what_belongs_to_the_connection() {
        let passed = |head: &str| interim_for_client(head.as_bytes()).map(|head| String::from_utf8(head).unwrap());
        let hints =
            "HTTP/1.1 103 Early Hints\r\nConnection: close\r\nLink: </a>;\r\n rel=x\r\nContent-Length: 3\r\nx\r\n\r\n";
        assert_eq!(passed(hints).unwrap(), "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=x\r\n\r\n");
        assert_eq!(passed("HTTP/1.1 100 Continue\r\n\r\n"), None);
        assert_eq!(passed("HTTP/1.0 103 Early Hints\r\n\r\n"), None);
    }

    #[test]
    fn other_protocols_are_recognized_by_their_first_bytes() {
        for (bytes, may_be) in
            [("", true), ("HT", true), ("\r\nHTTP/1.0", true), ("SSH-2.0", false), ("220 x", false), ("HTTP/2", false)]
        {
            assert_eq!(may_be_http(bytes.as_bytes()), may_be, "{bytes}");
        }
    }
}
