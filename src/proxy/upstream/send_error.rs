//! The failure of a request that was given a connection and brought no response.

use crate::http1::ResponseError;
use crate::proxy::refusal::AttemptCause;
use crate::traffic::AttemptFailure;

/// The failure of a request that was given a connection and brought no response.
pub(crate) struct SendError {
    pub(crate) failure: AttemptFailure,
    /// The cause, where more is known than the failure says.
    pub(crate) cause: Option<AttemptCause>,
}

impl From<AttemptFailure> for SendError {
    fn from(failure: AttemptFailure) -> Self {
        Self { failure, cause: None }
    }
}

impl SendError {
    /// Returns the failure of a request whose response could not be read. `has_received` is true if a part of it came.
    pub(super) fn of_response(error: &ResponseError, has_received: bool) -> Self {
        let (words, error) = match error {
            ResponseError::HeadTooLarge => {
                ("the head of its response is too large", "http_response_header_section_size")
            }
            ResponseError::Malformed => ("its response is malformed or not HTTP", "http_protocol_error"),
            ResponseError::Incomplete if has_received => {
                ("it closed the connection in the middle of the head of its response", "http_response_incomplete")
            }
            ResponseError::Incomplete => ("it closed the connection without a response", "connection_terminated"),
            ResponseError::Io(_) => ("it reset the connection", "connection_terminated"),
            ResponseError::RequestBroken | ResponseError::MalformedBody(_) => return AttemptFailure::Other.into(),
        };
        Self { failure: AttemptFailure::Other, cause: Some(AttemptCause { words: words.into(), error }) }
    }
}
