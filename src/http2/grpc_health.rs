//! Health checks of gRPC servers: the service `grpc.health.v1`, in the few bytes that a check needs.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri};
use tokio::io::{AsyncRead, AsyncWrite};

use super::connect::Http2Error;
use super::head::stream_head;
use super::single::SingleStream;

/// The most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 1024;

/// `SERVING` of `HealthCheckResponse.ServingStatus`.
const SERVING: u8 = 1;
/// The key of a message's first field if it is a number, and if it is text.
const FIRST_NUMBER: u8 = 0x08;
const FIRST_TEXT: u8 = 0x0a;

/// The reason why a service is not known to be healthy. Its text is for logs and callers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrpcHealthError {
    #[error("no HTTP/2 connection: {0}")]
    Connection(#[from] Http2Error),
    #[error("the stream was reset")]
    Reset(#[from] h2::Error),
    #[error("the page cannot be asked for")]
    Unaskable,
    #[error("{0}")]
    NotServing(String),
}

/// Calls `Check` for a service on a new connection. The other fields of the call are those of `head`, and its path is below `base`.
///
/// # Errors
/// If the service is not known to be healthy.
pub(crate) async fn check_grpc_health<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    mut head: Parts,
    is_tls: bool,
    base: &str,
    service: &str,
) -> Result<(), GrpcHealthError> {
    head.method = Method::POST;
    let target = format!("{base}/grpc.health.v1.Health/Check");
    head.uri = Uri::try_from(target).map_err(|_| GrpcHealthError::Unaskable)?;
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    head.headers.insert(TE, HeaderValue::from_static("trailers"));
    let call = stream_head(head, is_tls).ok_or(GrpcHealthError::Unaskable)?;
    let mut sent = SingleStream::open(stream).await?;
    let (head, body) = sent.send(call, message(service)).await?.into_parts();
    let (body, trailers) = sent.read(body, ANSWER_BYTES_MAX).await?;
    judge(head.status.as_u16(), &head.headers, &body, trailers.as_ref()).map_err(GrpcHealthError::NotServing)
}

/// Returns the framed `HealthCheckRequest` for a service, whose name has at most 2048 bytes.
fn message(service: &str) -> Bytes {
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

/// Judges an answer. The error is the reason why the service is not healthy, in words fit for the client's eyes.
fn judge(status: u16, head: &HeaderMap, body: &[u8], trailers: Option<&HeaderMap>) -> Result<(), String> {
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
        assert_eq!(judge(200, &none, &framed(&[8, 1]), Some(&ok)), Ok(()));
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
            assert_eq!(judge(status, head, &body, trailers), Err(reason.to_owned()), "{reason}");
        }
    }
}
