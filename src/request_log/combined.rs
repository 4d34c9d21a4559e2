//! The combined log format of Apache httpd and nginx: a line of text for each request.
//!
//! Invariants: text of a client cannot end its field or its line: quotes, backslashes and everything that is not visible ASCII are written as
//! `\xHH`, as nginx does.

use std::io::Write;

use arc_swap::ArcSwap;

use super::finished::FinishedRequest;
use super::query_mask::QueryMask;

/// Writes a request as one line. `time` is the time as the format wants it; `mask` hides the values of secret parameters.
pub(super) fn write_line(out: &mut Vec<u8>, request: &FinishedRequest<'_>, time: &str, mask: &ArcSwap<QueryMask>) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{} - - [{time}] \"", request.client);
    escape(out, request.method.as_bytes());
    out.push(b' ');
    // The target of `CONNECT` is a host and has no path (RFC 9112 §3.2.3).
    escape(out, if request.path.is_empty() { request.host } else { request.path.as_bytes() });
    if let Some(query) = request.query {
        out.push(b'?');
        escape(out, mask.load().apply(query).as_bytes());
    }
    // Both servers write these versions with a minor one.
    let minor = if matches!(request.protocol, "HTTP/2" | "HTTP/3") { ".0" } else { "" };
    let _ = write!(out, " {}{minor}\" {} {} \"", request.protocol, request.status, request.bytes_sent);
    match request.referer {
        Some(referer) => escape(out, mask.load().apply_to_url(String::from_utf8_lossy(referer)).as_bytes()),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b"\" \"");
    escape(out, request.user_agent.unwrap_or(b"-"));
    out.extend_from_slice(b"\"\n");
}

fn escape(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        if (byte.is_ascii_graphic() || *byte == b' ') && !matches!(byte, b'"' | b'\\') {
            out.push(*byte);
        } else {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_log::samples::bare;

    #[test]
    fn bytes_that_are_no_text_are_written_as_they_came() {
        let mut line = Vec::new();
        let request = FinishedRequest { user_agent: Some(b"caf\xe9 \"\n"), ..bare("/") };
        write_line(&mut line, &request, "now", &ArcSwap::default());
        let line = String::from_utf8(line).unwrap();
        assert!(line.ends_with("\"-\" \"caf\\xE9 \\x22\\x0A\"\n"), "{line}");
    }
}
