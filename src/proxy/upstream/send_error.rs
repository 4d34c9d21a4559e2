//! The failure of a request that brought no response.

use http::Request;

use crate::proxy::upstream::request_body::RequestBody;
use crate::traffic::AttemptFailure;

/// The failure of a request that was given a connection and brought no response.
pub(crate) struct SendError {
    /// The request, if it is still at hand.
    pub(crate) unsent: Option<Request<RequestBody>>,
    pub(crate) failure: AttemptFailure,
}

impl SendError {
    pub(crate) fn of(failure: AttemptFailure) -> Self {
        Self { unsent: None, failure }
    }
}
