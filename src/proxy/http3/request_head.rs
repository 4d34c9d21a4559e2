//! The head of a request on a stream, in the form that requests have on every other connection.
//!
//! `h3` has refused names in upper case, and pseudo fields that are unknown or missing. Invariants: no field of a connection passes
//! (RFC 9114 §4.2); a length is one number.

use h3::ext::Protocol;
use http::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, TE, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;

use crate::proxy::http2::request_head::to_origin_form;
use crate::proxy::refusal::Refusal;

/// Gives the head a path as its target, a `Host` field, and its cookies in one line. Returns the length that it says.
///
/// # Errors
/// If the head is malformed, or asks for another protocol on the stream.
pub(super) fn translate(head: &mut Parts) -> Result<Option<u64>, Refusal> {
    if head.extensions.get::<Protocol>().is_some() {
        return Err(Refusal::NoUpgrade);
    }
    let fields = &head.headers;
    let of_connection = ["keep-alive", "proxy-connection"];
    if [CONNECTION, TRANSFER_ENCODING, UPGRADE].iter().any(|name| fields.contains_key(name))
        || of_connection.iter().any(|name| fields.contains_key(*name))
        || fields.get_all(TE).iter().any(|te| !te.as_bytes().eq_ignore_ascii_case(b"trailers"))
    {
        return Err(Refusal::BadRequest);
    }
    let length = length(fields)?;
    to_origin_form(head)?;
    Ok(length)
}

/// Returns the length that the fields say.
fn length(fields: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(None) };
    let is_number = !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit);
    if lengths.next().is_some() || !is_number {
        return Err(Refusal::BadRequest);
    }
    length.to_str().ok().and_then(|length| length.parse().ok()).map(Some).ok_or(Refusal::BadRequest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{Request, Version};

    fn translated(fields: &[(&str, &str)]) -> Result<(Option<u64>, Parts), Refusal> {
        let mut request = Request::post("https://a.example:8443/b?c").version(Version::HTTP_3);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        translate(&mut head).map(|length| (length, head))
    }

    #[test]
    fn a_head_becomes_one_of_http_1() {
        let (length, head) = translated(&[("content-length", "12"), ("te", "trailers")]).unwrap();
        assert_eq!((length, head.uri.to_string().as_str(), head.version), (Some(12), "/b?c", Version::HTTP_11));
        assert_eq!(head.headers["host"], "a.example:8443");
    }

    #[test]
    fn fields_of_a_connection_and_lengths_that_are_no_numbers_are_refused() {
        for field in [
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("keep-alive", "x"),
            ("proxy-connection", "x"),
            ("te", "gzip"),
            ("host", "other.example"),
            ("content-length", "+1"),
            ("content-length", "1, 1"),
            ("content-length", ""),
            ("content-length", "99999999999999999999"),
        ] {
            assert_eq!(translated(&[field]).unwrap_err(), Refusal::BadRequest, "{field:?}");
        }
        let twice = [("content-length", "1"), ("content-length", "1")];
        assert_eq!(translated(&twice).unwrap_err(), Refusal::BadRequest);
    }
}
