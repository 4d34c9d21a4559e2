//! The normalization of response heads that are irregular but have one meaning only.
//!
//! It replaces control bytes in values, joins folded lines, corrects versions and status lines, and removes transfer codings
//! without effect (`identity`) or given twice. Lines that are no fields are dropped, here or by hyper. Invariants: a regular
//! head is not copied; an irregular `Content-Length`, `Transfer-Encoding` or `Connection` line makes the response fail, because
//! another reader may give it another meaning.

use http::{HeaderMap, HeaderName, HeaderValue};

/// A head at the beginning of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadSummary {
    /// The index of the first byte after it.
    pub(crate) end: usize,
    /// True if it must be normalized.
    pub(crate) is_irregular: bool,
    /// True if another head follows it (RFC 9110 §15.2).
    pub(crate) is_interim: bool,
}

/// The most fields in a head for hyper, which then reads it without an allocation. The others are passed beside it.
const HEAD_FIELDS_MAX: usize = 96;

const TRANSFER_ENCODING: &[u8] = b"transfer-encoding";
/// The fields that decide the length of the message and the use of the connection. They must have one meaning.
const FRAMING: [&[u8]; 3] = [b"content-length", TRANSFER_ENCODING, b"connection"];

/// Finds a whole head at the beginning of `bytes`. Returns `None` if the head is incomplete.
pub(crate) fn find_head(bytes: &[u8]) -> Option<HeadSummary> {
    let (mut lines, mut returns, mut codings) = (0_usize, 0_usize, 0);
    let version = version(bytes);
    let mut is_irregular = version.is_none();
    for at in memchr::memchr_iter(b'\n', bytes) {
        lines += 1;
        returns += usize::from(at > 0 && bytes.get(at - 1) == Some(&b'\r'));
        let next = bytes.get(at + 1..).unwrap_or_default();
        // A blank line before the status line does not end the head (RFC 9112 §2.2).
        let is_blank = lines == 1 && at <= 1;
        let end = match next {
            [b'\n', ..] if !is_blank => at + 2,
            [b'\r', b'\n', ..] if !is_blank => at + 3,
            [b' ' | b'\t', ..] => {
                is_irregular = true;
                continue;
            }
            [b't' | b'T', ..] if is_named(next, TRANSFER_ENCODING) => {
                codings += 1;
                is_irregular |= codings > 1 || version == Some(b'0') || !is_plainly_chunked(next);
                continue;
            }
            _ => continue,
        };
        let head = bytes.get(..end).unwrap_or_default();
        let returns = returns + usize::from(end == at + 3);
        is_irregular |= lines > HEAD_FIELDS_MAX || has_controls(head, lines + 1, returns);
        return Some(HeadSummary { end, is_irregular, is_interim: is_interim(head) });
    }
    None
}

/// Returns the last digit of the version; `None` if the beginning of the status line is irregular.
fn version(bytes: &[u8]) -> Option<u8> {
    match bytes {
        [b'\r' | b'\n', rest @ ..] => version(rest),
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor @ (b'0' | b'1'), b' ', b'0'..=b'9', ..] => Some(*minor),
        _ => None,
    }
}

/// True if the bytes can be the beginning of a response.
pub(crate) fn may_be_http(bytes: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"HTTP/1.";
    let received = bytes.trim_ascii_start();
    let length = received.len().min(BEGINNING.len());
    received.get(..length) == BEGINNING.get(..length)
}

fn is_named(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|found| found.eq_ignore_ascii_case(name))
}

fn is_plainly_chunked(line: &[u8]) -> bool {
    let rest = line.get(TRANSFER_ENCODING.len()..).and_then(|rest| rest.strip_prefix(b":")).unwrap_or_default();
    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
    is_chunked(rest.get(..end).unwrap_or_default())
}

fn is_chunked(value: &[u8]) -> bool {
    value.trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// True if there are control bytes other than tabs, `lines` line feeds and the `returns` before them.
fn has_controls(head: &[u8], lines: usize, returns: usize) -> bool {
    // A count in bytes, which the compiler vectorizes, is faster than a search.
    let few = |bytes: &[u8]| usize::from(bytes.iter().map(|byte| u8::from(is_control(*byte))).sum::<u8>());
    let controls: usize = head.chunks(128).map(few).sum();
    controls != lines + returns
}

const fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

fn is_interim(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    let status = head.get(b"HTTP/1.1 ".len()..).unwrap_or_default();
    status.starts_with(b"1") && !status.starts_with(b"101")
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
pub(crate) struct NormalizedHead {
    /// The head for hyper.
    pub(crate) head: Vec<u8>,
    /// The lines of the fields beyond the number that hyper is given.
    pub(crate) further: Vec<u8>,
    /// The number of all fields.
    pub(crate) fields: usize,
}

/// Normalizes a whole head. Returns `None` if the head has more than one meaning.
pub(crate) fn normalize(head: &[u8]) -> Option<NormalizedHead> {
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
    let mut further = Vec::new();
    for (line, place) in fields().filter(|line| !(replaces_codings && line.is(TRANSFER_ENCODING))).zip(1..) {
        let is_further = place > HEAD_FIELDS_MAX && !NOT_INTERIM.iter().any(|name| line.is(name));
        let to = if is_further { &mut further } else { &mut normalized };
        to.extend(line.clean());
        to.extend_from_slice(b"\r\n");
    }
    if replaces_codings {
        // The connection is closed, so that no bytes after this message are read as another response.
        normalized.extend_from_slice(if codings.is_empty() { b"" } else { b"transfer-encoding: chunked\r\n" });
        normalized.extend_from_slice(b"connection: close\r\n");
    }
    normalized.extend_from_slice(b"\r\n");
    Some(NormalizedHead { head: normalized, further, fields: fields().count() })
}

/// Adds the fields of `lines` to `headers`. Lines that are no fields are dropped.
pub(crate) fn add_fields(lines: &[u8], headers: &mut HeaderMap) {
    for line in lines.split(|byte| *byte == b'\n') {
        let Some(at) = memchr::memchr(b':', line) else { continue };
        let (name, value) = line.split_at(at);
        let name = HeaderName::from_bytes(name.trim_ascii());
        let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default().trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            // There are fewer than a map takes.
            let _ = headers.try_append(name, value);
        }
    }
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

    fn found(fields: &str) -> Option<(bool, bool)> {
        let bytes = format!("{STATUS}{fields}");
        find_head(bytes.as_bytes()).map(|head| (head.is_irregular, head.end == bytes.len()))
    }

    fn normalized(fields: &str) -> String {
        let normalized = normalize(format!("{STATUS}{fields}\r\n").as_bytes()).expect(fields).head;
        String::from_utf8(normalized).unwrap().strip_prefix(STATUS).unwrap().strip_suffix("\r\n").unwrap().to_owned()
    }

    #[test]
    fn a_regular_head_is_not_normalized() {
        for fields in [
            "\r\n",
            "content-length: 2\r\n\r\n",
            "Transfer-Encoding: chunked\r\nx:\ty\r\n\r\n",
            "transfer-encoding:Chunked \n\n",
            "te: x\ntransfer-x: y\n\n",
            "x: caf\u{e9}\r\n\r\n",
        ] {
            assert_eq!(found(fields), Some((false, true)), "{fields:?}");
        }
        for part in ["", "x: y\r\n", "x: y\r\n\r", "x"] {
            assert_eq!(found(part), None, "{part:?}");
        }
        assert_eq!(found("\r\nbody: \r\n \r\n\r\n"), Some((false, false)), "the body is no part of it");
    }

    #[test]
    fn an_interim_head_is_one_that_another_follows() {
        for (status, interim) in [("100", true), ("103", true), ("101", false), ("200", false), ("110", true)] {
            let bytes = format!("\r\nHTTP/1.1 {status} X\r\n\r\n");
            let head = find_head(bytes.as_bytes()).unwrap();
            assert_eq!((head.is_interim, head.end), (interim, bytes.len()), "{status}");
        }
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
            assert_eq!(found(&format!("{irregular}\r\n")), Some((true, true)), "{irregular:?}");
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
            let head = find_head(irregular.as_bytes()).expect(irregular);
            assert_eq!((head.is_irregular, head.end), (true, irregular.len()), "{irregular:?}");
            assert_eq!(
                String::from_utf8(normalize(irregular.as_bytes()).unwrap().head).unwrap(),
                regular,
                "{irregular:?}"
            );
        }
        for regular in ["HTTP/1.1 200\r\n\r\n", "HTTP/1.0 200 OK\r\nx: y\r\n\r\n", "\r\nHTTP/1.1 404 No\n\n"] {
            assert!(find_head(regular.as_bytes()).is_some_and(|head| !head.is_irregular), "{regular:?}");
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
            assert_eq!(found(&format!("{irregular}\r\n")), Some((true, true)), "{irregular:?}");
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

    #[test]
    fn fields_beyond_the_limit_are_passed_beside_the_head() {
        let mut fields: String = (0..300).map(|number| format!("x-{}: {number}\r\n", number % 150)).collect();
        fields.push_str("content-length: 2\r\n");
        assert_eq!(found(&format!("{fields}\r\n")), Some((true, true)));
        let normalized = normalize(format!("{STATUS}{fields}\r\n").as_bytes()).unwrap();
        let head = String::from_utf8(normalized.head).unwrap();
        assert!(head.matches('\n').count() < 100 && head.contains("content-length: 2\r\n"), "{head}");
        let mut headers = HeaderMap::new();
        add_fields(&normalized.further, &mut headers);
        assert_eq!((normalized.fields, headers.len()), (301, 300 - HEAD_FIELDS_MAX));
        let twice: Vec<_> = headers.get_all("x-149").iter().collect();
        assert_eq!(twice, ["149", "299"], "in their order");
    }
}
