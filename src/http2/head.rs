//! The head of a request in the form of HTTP/2 (RFC 9113 §8.3.1).

use http::header::{CONNECTION, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{Request, Uri, Version};

/// Returns the head of an HTTP/1.1 request as HTTP/2 has it: scheme and host are part of the target, and the fields of the
/// connection are left out. Returns `None` without a host, or with one that cannot be part of a target.
pub(crate) fn stream_head(head: Parts, is_tls: bool) -> Option<Request<()>> {
    let mut headers = head.headers;
    let host = headers.remove(HOST)?;
    for name in [CONNECTION, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    let mut target = head.uri.into_parts();
    target.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    target.authority = Some(Authority::try_from(host.as_bytes()).ok()?);
    let mut request = Request::new(());
    *request.method_mut() = head.method;
    *request.uri_mut() = Uri::from_parts(target).ok()?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Some(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_becomes_part_of_the_target_and_fields_of_the_connection_go() {
        let request = Request::builder().uri("/a?b").header(HOST, "shop.example:8080").header("te", "trailers");
        let request = request.header(CONNECTION, "te").header(TRANSFER_ENCODING, "chunked").body(()).unwrap();
        let head = stream_head(request.into_parts().0, true).unwrap();
        assert_eq!(head.uri(), "https://shop.example:8080/a?b");
        assert_eq!(head.headers().keys().map(http::HeaderName::as_str).collect::<Vec<_>>(), ["te"]);
        let star = Request::builder().method("OPTIONS").uri("*").header(HOST, "[::1]").body(()).unwrap();
        assert_eq!(stream_head(star.into_parts().0, false).unwrap().uri().path(), "*");
        for bad in [Request::builder().body(()), Request::builder().header(HOST, "a b").body(())] {
            assert!(stream_head(bad.unwrap().into_parts().0, false).is_none());
        }
    }
}
