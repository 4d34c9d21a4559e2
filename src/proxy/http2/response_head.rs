//! The heads of responses on a stream.
//!
//! Invariants: no field of a connection goes to a stream (RFC 9113 §8.2.2).

use http::header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE};
use http::response::Parts;
use http::{Response, StatusCode, Version};
use http_body::Body as _;

use crate::proxy::http2::date::DateField;
use crate::proxy::limits::FIELDS_MAX;
use crate::proxy::response::body::ProxyBody;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Adapts the head of a response with this body. Pages of the proxy have no length yet, and may have fields of a connection.
pub(crate) fn adapt(head: &mut Parts, body: &ProxyBody, date: &DateField) {
    head.version = Version::HTTP_2;
    remove_connection_fields(&mut head.headers);
    head.headers.entry(DATE).or_insert_with(|| date.now());
    if let (ProxyBody::Whole(Some(_)), Some(length)) = (body, body.size_hint().exact()) {
        head.headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from(length));
    }
}

/// Removes the fields of a connection. One walk over the names costs less than a look-up of each.
fn remove_connection_fields(fields: &mut HeaderMap) {
    const NAMES: [HeaderName; 5] = [CONNECTION, TRANSFER_ENCODING, UPGRADE, KEEP_ALIVE, PROXY_CONNECTION];
    let is_one = |name: &HeaderName| {
        matches!(name.as_str(), "connection" | "transfer-encoding" | "upgrade" | "keep-alive" | "proxy-connection")
    };
    if fields.keys().any(is_one) {
        NAMES.iter().for_each(|name| drop(fields.remove(name)));
    }
}

/// Returns interim heads that came as HTTP/1. Fields that no stream may have are left out.
pub(crate) fn interim(mut heads: &[u8]) -> Vec<Response<()>> {
    let mut found = Vec::new();
    loop {
        let mut lines = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut parsed = httparse::Response::new(&mut lines);
        let Ok(httparse::Status::Complete(end)) = parsed.parse(heads) else { return found };
        let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
        if let Some(status) = status.filter(|status| *status != StatusCode::SWITCHING_PROTOCOLS) {
            let mut head = Response::new(());
            *head.status_mut() = status;
            for line in parsed.headers.iter() {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(line.name), HeaderValue::try_from(line.value)) {
                    head.headers_mut().append(name, value);
                }
            }
            remove_connection_fields(head.headers_mut());
            found.push(head);
        }
        heads = heads.get(end..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interim_heads_lose_the_fields_of_their_connection() {
        let heads = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\
                     Connection: x\r\nKeep-Alive: y\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\nHTTP/1.1 103";
        let heads = interim(heads.as_bytes());
        let seen = |head: &Response<()>| (head.status().as_u16(), head.headers().len());
        assert_eq!(heads.iter().map(seen).collect::<Vec<_>>(), [(100, 0), (103, 2)]);
    }
}
