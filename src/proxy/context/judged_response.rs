//! The judgement on a response about the endpoint that it came from: the verdict of the breaker, and the reason of a failure in words.
//!
//! It does not count. Invariant: the words name no status that the backend did not send.

use http::StatusCode;

use crate::domain::grpc_status_name;
use crate::traffic::{BreakerOutcome, GRPC_UNKNOWN, http_status_of_call};

/// The status of a response, or the way in which it ended without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JudgedResponse {
    /// A response with this status, which is not that of a gRPC call.
    Http(StatusCode),
    /// The response of a gRPC call with this status.
    Call(u8),
    /// The response of a gRPC call ended without a status.
    CallWithoutStatus,
    /// The backend broke off the response of a gRPC call.
    CallBrokenOff,
    /// The response of a gRPC call broke off because the rest of its request could not be sent.
    RequestBrokenOff,
}

impl JudgedResponse {
    /// Returns the status for the statistics.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Http(status) => status,
            Self::Call(code) => http_status_of_call(code),
            Self::CallWithoutStatus | Self::CallBrokenOff | Self::RequestBrokenOff => http_status_of_call(GRPC_UNKNOWN),
        }
    }

    /// Returns the status that a gRPC call has for its client. A response that breaks off has no status at all.
    pub(crate) fn call_status(self) -> Option<u8> {
        match self {
            Self::Call(code) => Some(code),
            Self::CallWithoutStatus => Some(GRPC_UNKNOWN),
            Self::Http(_) | Self::CallBrokenOff | Self::RequestBrokenOff => None,
        }
    }

    /// Returns the verdict for the breaker.
    pub(crate) fn outcome(self) -> BreakerOutcome {
        match self {
            Self::RequestBrokenOff => BreakerOutcome::Abandoned,
            _ if self.status().is_server_error() => BreakerOutcome::Failure,
            _ => BreakerOutcome::Success,
        }
    }

    /// Returns what the backend did, in words that go on from its name.
    pub(crate) fn words(self) -> String {
        match self {
            Self::Http(status) => format!("it answered with an error ({})", status.as_u16()),
            Self::Call(code) => format!("it answered with the gRPC status {} ({code})", grpc_status_name(code)),
            Self::CallWithoutStatus => "its response ended without a gRPC status".to_owned(),
            Self::CallBrokenOff => "it broke its response off".to_owned(),
            Self::RequestBrokenOff => "the body of the client broke off or was malformed".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_for_a_failure_name_only_a_status_that_was_sent() {
        for (response, words) in [
            (JudgedResponse::Http(StatusCode::BAD_GATEWAY), "it answered with an error (502)"),
            (JudgedResponse::Call(14), "it answered with the gRPC status UNAVAILABLE (14)"),
            (JudgedResponse::Call(2), "it answered with the gRPC status UNKNOWN (2)"),
            (JudgedResponse::CallWithoutStatus, "its response ended without a gRPC status"),
            (JudgedResponse::CallBrokenOff, "it broke its response off"),
        ] {
            assert_eq!((response.outcome(), &*response.words()), (BreakerOutcome::Failure, words));
        }
        for response in [JudgedResponse::Http(StatusCode::NOT_FOUND), JudgedResponse::Call(0), JudgedResponse::Call(5)]
        {
            assert_eq!(response.outcome(), BreakerOutcome::Success, "{response:?}");
        }
        assert_eq!(JudgedResponse::RequestBrokenOff.outcome(), BreakerOutcome::Abandoned);
    }
}
