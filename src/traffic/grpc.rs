//! gRPC calls as a proxy sees them: which requests are calls, how long their clients wait, and what their statuses say.
//!
//! gRPC-Web is not meant: its statuses are part of the body.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// The field with the status of a call, in the head or in the trailers.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The status of a call that has none, or one that is unknown.
pub const GRPC_UNKNOWN: u8 = 2;
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const GRPC: &[u8] = b"application/grpc";

/// Returns true if a request is a gRPC call.
pub fn is_grpc_call(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::POST && has_grpc_type(headers)
}

/// Returns true if a message is one of gRPC by its content type: `application/grpc`, also with a suffix such as `+proto`.
pub fn has_grpc_type(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let rest = kind.split_at_checked(GRPC.len()).filter(|(start, _)| start.eq_ignore_ascii_case(GRPC));
    rest.is_some_and(|(_, rest)| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Returns the time that the client of a call waits for its end, if it says so.
pub fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(GRPC_TIMEOUT)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| is_number)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Returns the status of a call, if the fields of a head or the trailers have one. An unreadable one is [`GRPC_UNKNOWN`].
pub fn grpc_status(fields: &HeaderMap) -> Option<u8> {
    fields.get(GRPC_STATUS).map(|code| match code.as_bytes() {
        [digit @ b'0'..=b'9'] => digit - b'0',
        [b'1', digit @ b'0'..=b'6'] => 10 + (digit - b'0'),
        _ => GRPC_UNKNOWN,
    })
}

/// Returns the HTTP status for a gRPC status, as Envoy maps them. Those from 500 on are failures of the server.
pub fn http_status_of_call(code: u8) -> StatusCode {
    match code {
        0 => StatusCode::OK,
        // CANCELLED; nginx uses the number for clients that went away.
        1 => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        // INVALID_ARGUMENT, FAILED_PRECONDITION, OUT_OF_RANGE
        3 | 9 | 11 => StatusCode::BAD_REQUEST,
        // DEADLINE_EXCEEDED
        4 => StatusCode::GATEWAY_TIMEOUT,
        5 => StatusCode::NOT_FOUND,
        // ALREADY_EXISTS, ABORTED
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        // RESOURCE_EXHAUSTED
        8 => StatusCode::TOO_MANY_REQUESTS,
        // UNIMPLEMENTED
        12 => StatusCode::NOT_IMPLEMENTED,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        // UNKNOWN, INTERNAL, DATA_LOSS, and what is no status.
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_call_is_known_by_its_type_and_grpc_web_is_none() {
        for (kind, is_call) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/gRPC; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(is_grpc_call(&Method::POST, &with(CONTENT_TYPE, kind)), is_call, "{kind}");
        }
        assert!(!is_grpc_call(&Method::GET, &with(CONTENT_TYPE, "application/grpc")));
    }

    #[test]
    fn a_timeout_is_read_in_all_units() {
        let read = |text| grpc_timeout(&with(GRPC_TIMEOUT, text));
        assert_eq!(read("2H"), Some(Duration::from_hours(2)));
        assert_eq!(read("3M"), Some(Duration::from_mins(3)));
        assert_eq!(read("4S"), Some(Duration::from_secs(4)));
        assert_eq!((read("5m"), read("5000u"), read("5000000n")), {
            let five = Some(Duration::from_millis(5));
            (five, five, five)
        });
        assert_eq!(read("99999999H"), Some(Duration::from_hours(99_999_999)));
        for bad in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "123456789S", "1 S", "1\u{e4}"] {
            let mut headers = HeaderMap::new();
            headers.insert(GRPC_TIMEOUT, HeaderValue::from_bytes(bad.as_bytes()).unwrap());
            assert_eq!(grpc_timeout(&headers), None, "{bad}");
        }
    }

    #[test]
    fn six_statuses_are_failures_of_the_server() {
        let failures: Vec<u8> = (0..=16)
            .filter(|code| {
                let mut fields = HeaderMap::new();
                fields.insert(GRPC_STATUS, HeaderValue::from(u16::from(*code)));
                assert_eq!(grpc_status(&fields), Some(*code));
                http_status_of_call(*code).is_server_error()
            })
            .collect();
        assert_eq!(failures, [2, 4, 12, 13, 14, 15]);
        assert_eq!(grpc_status(&HeaderMap::new()), None);
        for odd in ["seventeen", "17", "00", "1 ", "", "256"] {
            let code = grpc_status(&with(GRPC_STATUS, odd));
            assert_eq!(code, Some(GRPC_UNKNOWN), "{odd}");
        }
        assert!(http_status_of_call(GRPC_UNKNOWN).is_server_error());
    }
}
