//! The combined log format of Apache httpd and nginx: a line of text for each request.
//!
//! Invariants: text of a client cannot end its field or its line: quotes, backslashes and everything that is not visible ASCII are written as
//! `\xHH`, as nginx does.

use std::io::Write;

use crate::json::requests::RequestView;

/// Writes a request as one line. `time` is the time as the format wants it.
pub(super) fn write_line(out: &mut Vec<u8>, request: &RequestView<'_>, time: &str) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{} - - [{time}] \"", request.client);
    escape(out, &request.method);
    out.push(b' ');
    // The target of `CONNECT` is a host and has no path (RFC 9112 §3.2.3).
    escape(out, if request.path.is_empty() { &request.host } else { &request.path });
    if let Some(query) = &request.query {
        out.push(b'?');
        escape(out, query);
    }
    // Both servers write these versions with a minor one.
    let minor = if matches!(request.protocol, "HTTP/2" | "HTTP/3") { ".0" } else { "" };
    let _ = write!(out, " {}{minor}\" {} {} \"", request.protocol, request.status, request.bytes_sent);
    escape(out, request.referer.as_deref().unwrap_or("-"));
    out.extend_from_slice(b"\" \"");
    escape(out, request.user_agent.as_deref().unwrap_or("-"));
    out.extend_from_slice(b"\"\n");
}

fn escape(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        if (byte.is_ascii_graphic() || byte == b' ') && byte != b'"' && byte != b'\\' {
            out.push(byte);
        } else {
            let _ = write!(out, "\\x{byte:02X}");
        }
    }
}
