//! The answers of a collector to a message, over HTTP and over gRPC (OTLP 1.x, "OTLP/gRPC Response", "OTLP/HTTP Response").

use std::error::Error;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::clock;

/// The most bytes of a collector's words that are shown.
const WORDS_BYTES_MAX: usize = 200;

/// The part of a message that a collector rejected.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Rejected {
    /// The number of items.
    pub(super) items: u64,
    /// The reason in the collector's words.
    pub(super) why: String,
}

/// A message was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotTaken {
    /// The reason, for the log.
    pub(super) why: String,
    /// True if the collector takes no other message either, for now.
    pub(super) is_of_all: bool,
    /// The time that it wants to be left alone.
    pub(super) wait: Option<Duration>,
}

impl Rejected {
    /// Returns the part that a collector says it rejected.
    pub(super) fn of((items, why): (i64, String)) -> Self {
        Self { items: u64::try_from(items).unwrap_or_default(), why: words(&why) }
    }
}

impl NotTaken {
    /// The collector cannot be reached, or does not answer.
    pub(super) fn unreachable(error: &dyn Error) -> Self {
        Self { why: innermost(error), is_of_all: true, wait: None }
    }

    /// The collector does not answer within this time.
    pub(super) fn silent(patience: Duration) -> Self {
        Self { why: format!("no answer within {patience:?}"), is_of_all: true, wait: None }
    }

    /// The answer is none of OTLP, so that nobody knows what became of the message.
    pub(super) fn garbled() -> Self {
        Self { why: "the answer is none of OTLP".to_owned(), is_of_all: false, wait: None }
    }

    /// The answer over HTTP is not one of success.
    pub(super) fn of_http(status: StatusCode, fields: &HeaderMap) -> Self {
        let wait = fields.get(header::RETRY_AFTER).and_then(|field| retry_after(field.to_str().ok()?));
        let is_of_all = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        Self { why: format!("the answer is {status}"), is_of_all, wait: wait.filter(|_| is_of_all) }
    }

    /// The answer over gRPC is not one of success, or there is none.
    pub(super) fn of_grpc(status: &Status) -> Self {
        let wait = status.get_details_retry_info().and_then(|info| info.retry_delay);
        let is_of_all = match status.code() {
            Code::ResourceExhausted => wait.is_some(),
            // The library has `Unknown` for connections that ended.
            Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => true,
            _ => false,
        };
        let why = match status.source() {
            Some(cause) => innermost(cause),
            None => format!("the answer is {:?}: {}", status.code(), words(status.message())),
        };
        Self { why, is_of_all, wait: wait.filter(|_| is_of_all) }
    }
}

/// Returns the words of the first cause of an error.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    words(&cause.to_string())
}

/// Returns a text of bounded length without control characters.
fn words(text: &str) -> String {
    let text = text.get(..text.floor_char_boundary(WORDS_BYTES_MAX)).unwrap_or_default();
    text.replace(char::is_control, " ")
}

/// Reads `Retry-After`: a number of seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(field: &str) -> Option<Duration> {
    if let Ok(seconds) = field.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(field.trim()).ok()?;
    let now = clock::wall_time(clock::now()).0;
    Some(Duration::from_millis(u64::try_from(date.as_millisecond()).ok()?.saturating_sub(now)))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn an_answer_says_whether_other_messages_are_taken_and_when() {
        for (status, asked, expected) in [
            (429, Some("20"), (true, Some(20))),
            (503, Some("Sun, 06 Nov 1994 08:49:37 GMT"), (true, Some(0))),
            (503, Some("soon"), (true, None)),
            (502, None, (true, None)),
            (400, Some("20"), (false, None)),
            (413, None, (false, None)),
            (500, None, (false, None)),
        ] {
            let mut fields = HeaderMap::new();
            if let Some(asked) = asked {
                fields.insert(header::RETRY_AFTER, HeaderValue::from_static(asked));
            }
            let failure = NotTaken::of_http(StatusCode::from_u16(status).unwrap(), &fields);
            assert_eq!((failure.is_of_all, failure.wait.map(|wait| wait.as_secs())), expected, "{status} {asked:?}");
        }
        let wait = ErrorDetails::with_retry_info(Some(Duration::from_secs(20)));
        for (code, details, expected) in [
            (Code::Unavailable, &wait, (true, Some(20))),
            (Code::Unavailable, &ErrorDetails::new(), (true, None)),
            (Code::ResourceExhausted, &wait, (true, Some(20))),
            (Code::ResourceExhausted, &ErrorDetails::new(), (false, None)),
            (Code::InvalidArgument, &wait, (false, None)),
            (Code::Unimplemented, &ErrorDetails::new(), (false, None)),
        ] {
            let failure = NotTaken::of_grpc(&Status::with_error_details(code, "why", details.clone()));
            assert_eq!((failure.is_of_all, failure.wait.map(|wait| wait.as_secs())), expected, "{code:?}");
            assert!(failure.why.ends_with("why"), "{failure:?}");
        }
    }

    #[test]
    fn words_of_a_collector_are_bounded_and_forge_no_line() {
        let rejected = Rejected::of((-1, format!("a\nb\u{1b}{}", "ä".repeat(200))));
        assert_eq!(rejected.items, 0);
        assert!(rejected.why.starts_with("a b ä") && rejected.why.len() <= WORDS_BYTES_MAX, "{rejected:?}");
    }
}
