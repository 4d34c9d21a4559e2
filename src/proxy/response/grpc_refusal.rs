//! The proxy's own answers to gRPC calls: a status in a head without a body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response};

use crate::proxy::refusal::Refusal;
use crate::proxy::response::body::ProxyBody;
use crate::traffic::GRPC_STATUS;

const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// Details of a status, a `google.rpc.Status`.
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
/// The time before the next attempt, which gRPC clients with a retry policy obey.
const GRPC_PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// Returns the answer of a refusal to a gRPC call.
pub(crate) fn grpc_refusal(refusal: Refusal) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::Whole(None));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(code(refusal))));
    let sentence = refusal.sentence();
    // The sentences are visible ASCII without a percent sign, so that they need no encoding.
    HeaderValue::try_from(&*sentence).into_iter().for_each(|sentence| drop(headers.insert(GRPC_MESSAGE, sentence)));
    if let Refusal::Limited { secs } | Refusal::BreakerOpen { secs } = refusal {
        headers.insert(GRPC_PUSHBACK, HeaderValue::from(u64::from(secs) * 1000));
        let details = STANDARD_NO_PAD.encode(retry_details(code(refusal), &sentence, secs));
        HeaderValue::try_from(details).into_iter().for_each(|details| drop(headers.insert(GRPC_DETAILS, details)));
    }
    if refusal.closes() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Returns the gRPC status of a refusal.
fn code(refusal: Refusal) -> u8 {
    const DEADLINE_EXCEEDED: u8 = 4;
    const PERMISSION_DENIED: u8 = 7;
    const RESOURCE_EXHAUSTED: u8 = 8;
    const UNIMPLEMENTED: u8 = 12;
    const INTERNAL: u8 = 13;
    const UNAVAILABLE: u8 = 14;
    match refusal {
        Refusal::DeadlinePassed | Refusal::GatewayTooSlow | Refusal::ClientTooSlow => DEADLINE_EXCEEDED,
        Refusal::NoUpgrade => PERMISSION_DENIED,
        Refusal::TooLarge { .. } | Refusal::HeadTooLarge | Refusal::Limited { .. } => RESOURCE_EXHAUSTED,
        Refusal::Unmatched | Refusal::Redirected | Refusal::Method | Refusal::UnknownCoding => UNIMPLEMENTED,
        Refusal::PlainHttp | Refusal::BadRequest | Refusal::Expectation | Refusal::Loop => INTERNAL,
        Refusal::TooManyConnections
        | Refusal::NoMemory
        | Refusal::Misdirected
        | Refusal::BadGateway
        | Refusal::NoRoom
        | Refusal::Maintenance
        | Refusal::BreakerOpen { .. }
        | Refusal::Unhealthy
        | Refusal::Drained => UNAVAILABLE,
    }
}

/// Returns a `google.rpc.Status` with a `RetryInfo` of some seconds.
fn retry_details(code: u8, sentence: &str, secs: u32) -> Vec<u8> {
    let mut delay = vec![0x08];
    varint(&mut delay, secs);
    let info = part(1, &delay);
    let any = [part(1, RETRY_INFO.as_bytes()), part(2, &info)].concat();
    [vec![0x08, code], part(2, sentence.as_bytes()), part(3, &any)].concat()
}

/// Returns a field that holds text or a message.
fn part(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut part = vec![number << 3 | 2];
    varint(&mut part, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    part.extend_from_slice(bytes);
    part
}

fn varint(out: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        let [low, ..] = number.to_le_bytes();
        out.push(low | 0x80);
        number >>= 7;
    }
    let [low, ..] = number.to_le_bytes();
    out.push(low);
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::Any;

    use super::*;

    #[derive(Clone, PartialEq, Message)]
    struct RpcStatus {
        #[prost(int32, tag = "1")]
        code: i32,
        #[prost(string, tag = "2")]
        message: String,
        #[prost(message, repeated, tag = "3")]
        details: Vec<Any>,
    }

    #[derive(Clone, PartialEq, Message)]
    struct RetryInfo {
        #[prost(message, optional, tag = "1")]
        retry_delay: Option<prost_types::Duration>,
    }

    #[test]
    fn a_limit_tells_when_to_try_again_in_both_ways() {
        for secs in [1, 300, 100_000] {
            let response = grpc_refusal(Refusal::Limited { secs });
            let field = |name: &str| response.headers().get(name).unwrap().to_str().unwrap().to_owned();
            assert_eq!((response.status().as_u16(), field("grpc-status").as_str()), (200, "8"));
            assert_eq!(field("grpc-retry-pushback-ms"), format!("{secs}000"));
            let status =
                RpcStatus::decode(&*STANDARD_NO_PAD.decode(field("grpc-status-details-bin")).unwrap()).unwrap();
            assert_eq!((status.code, status.message), (8, field("grpc-message")));
            assert_eq!(status.details[0].type_url, RETRY_INFO);
            let delay = RetryInfo::decode(&*status.details[0].value).unwrap().retry_delay.unwrap();
            assert_eq!(delay.seconds, i64::from(secs));
        }
    }

    #[test]
    fn a_sentence_needs_no_encoding() {
        for refusal in
            [Refusal::Unmatched, Refusal::TooLarge { max: 10 }, Refusal::Expectation, Refusal::DeadlinePassed]
        {
            let response = grpc_refusal(refusal);
            let said = response.headers().get("grpc-message").unwrap();
            assert!(said.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte) && *byte != b'%'));
            assert!(!response.headers().contains_key("grpc-retry-pushback-ms"));
        }
    }
}
