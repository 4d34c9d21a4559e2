//! Health checks of gRPC servers: the service `grpc.health.v1`, in the few bytes that a check needs.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use crate::traffic::ProbeSpec;

/// The most bytes of an answer.
pub(crate) const ANSWER_BYTES_MAX: usize = 1024;

/// `SERVING` of `HealthCheckResponse.ServingStatus`.
const SERVING: u8 = 1;
/// The key of a message's first field if it is a number, and if it is text.
const FIRST_NUMBER: u8 = 0x08;
const FIRST_TEXT: u8 = 0x0a;

/// Turns the request of a probe into a call of `Check`.
pub(crate) fn into_call(request: &mut Request<()>, spec: &ProbeSpec) -> Option<()> {
    let target = format!("{}/grpc.health.v1.Health/Check", spec.backend.base());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::try_from(target).ok()?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    Some(())
}

/// Returns the framed `HealthCheckRequest` for a service, whose name has at most 2048 bytes.
pub(crate) fn message(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        let [high, low] = u16::try_from(service.len()).unwrap_or_default().to_be_bytes();
        message.put_u8(FIRST_TEXT);
        // The length as a varint, seven bits in each byte.
        if service.len() < 0x80 {
            message.put_u8(low);
        } else {
            message.put_slice(&[low | 0x80, high << 1 | low >> 7]);
        }
        message.put_slice(service.as_bytes());
    }
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or_default());
    framed.put(message);
    framed.freeze()
}

/// Judges an answer.
///
/// # Errors
/// The reason why the service is not healthy, in words fit for the client's eyes.
pub(crate) fn outcome(status: u16, head: &HeaderMap, body: &[u8], trailers: Option<&HeaderMap>) -> Result<(), String> {
    let said = [trailers, Some(head)].into_iter().flatten().find_map(|fields| fields.get("grpc-status"));
    Err(match (status, said.map(HeaderValue::as_bytes)) {
        (200, Some(b"0")) => match body.get(5..) {
            Some([FIRST_NUMBER, SERVING, ..]) => return Ok(()),
            Some([FIRST_NUMBER, 2, ..]) => "it says that it is not serving".to_owned(),
            _ => "it does not say that it is serving".to_owned(),
        },
        (200, Some(b"5")) => "its health service does not know the service".to_owned(),
        (200, Some(b"12")) => "it has no service grpc.health.v1".to_owned(),
        (200, Some(said)) => format!("grpc-status {}", String::from_utf8_lossy(said.get(..8).unwrap_or(said))),
        (200, None) => "the answer is not gRPC".to_owned(),
        (status, _) => format!("status {status}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_service() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("a.B")[..], [0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B']);
        assert_eq!(&message(&"x".repeat(200))[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
        assert_eq!(&message(&"x".repeat(2000))[..8], [0, 0, 0, 7, 211, 0x0a, 0xd0, 15]);
    }

    #[test]
    fn only_a_service_that_serves_is_healthy() {
        let fields =
            |said: &'static str| HeaderMap::from_iter([("grpc-status".parse().unwrap(), said.parse().unwrap())]);
        let (none, ok) = (HeaderMap::new(), fields("0"));
        let framed = |message: &[u8]| [&[0, 0, 0, 0, u8::try_from(message.len()).unwrap()], message].concat();
        assert_eq!(outcome(200, &none, &framed(&[8, 1]), Some(&ok)), Ok(()));
        for (status, head, body, trailers, reason) in [
            (200, &none, framed(&[8, 2]), Some(&ok), "it says that it is not serving"),
            (200, &none, framed(&[]), Some(&ok), "it does not say that it is serving"),
            (200, &none, vec![], Some(&ok), "it does not say that it is serving"),
            (200, &fields("5"), vec![], None, "its health service does not know the service"),
            (200, &fields("12"), vec![], None, "it has no service grpc.health.v1"),
            (200, &none, framed(&[8, 1]), Some(&fields("14")), "grpc-status 14"),
            (200, &none, framed(&[8, 1]), None, "the answer is not gRPC"),
            (503, &none, vec![], None, "status 503"),
        ] {
            assert_eq!(outcome(status, head, &body, trailers), Err(reason.to_owned()), "{reason}");
        }
    }
}
