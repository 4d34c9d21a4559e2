//! Lets operators' calls through, and nobody else's; and says why a call is not let in.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tonic::Code;

use crate::operator_auth::{ApiRequest, Denied, OperatorAuth, bearer};

use super::status::of_interface;

/// Answers a call that is not an operator's in its place.
pub(super) async fn authorize_operator(
    State(operators): State<Arc<OperatorAuth>>,
    request: Request,
    next: Next,
) -> Response {
    match operators.check(&ApiRequest::of(&request), bearer(request.headers())) {
        Ok(()) => next.run(request).await,
        Err(denied) => refuse(denied),
    }
}

/// Answers a call that is not let in.
pub fn refuse(denied: Denied) -> Response {
    let (code, reason) = match denied {
        Denied::Malformed(_) => (Code::InvalidArgument, "INVALID"),
        Denied::Unauthenticated(_) => (Code::Unauthenticated, "UNAUTHENTICATED"),
        Denied::Forbidden(_) => (Code::PermissionDenied, "DENIED"),
    };
    of_interface(code, reason, denied.words()).into_http()
}
