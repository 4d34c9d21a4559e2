//! The head of a request to a backend, as it is written.

use http::header::{CONTENT_LENGTH, HeaderMap, HeaderName, TRAILER, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Method, Uri};
use http_body::Body;

/// The way in which the end of a request's body is written.
#[derive(Debug)]
pub(super) enum RequestFraming {
    /// The number of bytes that are still to come.
    Length(u64),
    /// Chunks, and then those trailers that the head announces.
    Chunked(Vec<HeaderName>),
}

/// Writes the head of a request at the end of `to`; `add` writes further fields. Field names are written `Like-This`, which some old
/// servers demand.
pub(super) fn write_head(
    to: &mut Vec<u8>,
    (method, target, headers): (&Method, &Uri, &HeaderMap),
    add: impl FnOnce(&mut Vec<u8>),
    body: &impl Body,
) -> RequestFraming {
    let framing = framing(headers, body);
    let path = target.path_and_query().map_or("/", PathAndQuery::as_str);
    let slash: &[u8] = if path.starts_with(['/', '*']) { b"" } else { b"/" };
    for part in [method.as_str().as_bytes(), b" ", slash, path.as_bytes(), b" HTTP/1.1\r\n"] {
        to.extend_from_slice(part);
    }
    let is_chunked = matches!(framing, RequestFraming::Chunked(_));
    for (name, value) in headers {
        // The length of a body in chunks is not said (RFC 9112 §6.2).
        if (*name == CONTENT_LENGTH && is_chunked) || *name == TRANSFER_ENCODING {
            continue;
        }
        write_field(to, name, value.as_bytes());
    }
    add(to);
    match &framing {
        RequestFraming::Chunked(_) => to.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        RequestFraming::Length(length) if *length > 0 && !headers.contains_key(CONTENT_LENGTH) => {
            write_field(to, &CONTENT_LENGTH, length.to_string().as_bytes());
        }
        RequestFraming::Length(_) => {}
    }
    to.extend_from_slice(b"\r\n");
    framing
}

/// Writes one line of a head or of trailers.
pub(crate) fn write_field(to: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    let mut begins_word = true;
    to.extend(name.as_str().bytes().map(|byte| {
        let written = if begins_word { byte.to_ascii_uppercase() } else { byte };
        begins_word = byte == b'-';
        written
    }));
    for part in [b": ", value, b"\r\n"] {
        to.extend_from_slice(part);
    }
}

fn framing(headers: &HeaderMap, body: &impl Body) -> RequestFraming {
    if body.is_end_stream() {
        return RequestFraming::Length(0);
    }
    match body.size_hint().exact() {
        Some(length) => RequestFraming::Length(length),
        None => RequestFraming::Chunked(announced_trailers(headers)),
    }
}

fn announced_trailers(headers: &HeaderMap) -> Vec<HeaderName> {
    let lines = headers.get_all(TRAILER).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(','));
    names.filter_map(|name| name.trim().parse().ok()).collect()
}
