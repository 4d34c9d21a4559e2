//! Operator authentication of gRPC calls, and the statuses of its refusals.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tonic::Code;

use crate::operator_auth::{ApiRequest, Denied, OperatorAuth, bearer};

use super::status::of_interface;

/// Passes on a call of an operator, and refuses any other call.
pub(super) async fn authorize_operator(
    State(operators): State<Arc<OperatorAuth>>,
    mut request: Request,
    next: Next,
) -> Response {
    match operators.check(&ApiRequest::of(&request), bearer(request.headers())) {
        Ok(operator) => {
            request.extensions_mut().insert(operator);
            next.run(request).await
        }
        Err(denied) => refuse(denied),
    }
}

/// Passes on a call that anybody may make. An operator's token names its operator, for the history and the audit.
pub(super) async fn name_operator(
    State(operators): State<Arc<OperatorAuth>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(operator) = bearer(request.headers()).and_then(|token| operators.named(token)) {
        request.extensions_mut().insert(operator);
    }
    next.run(request).await
}

/// Returns the response to a call that is not allowed.
pub fn refuse(denied: Denied) -> Response {
    let (code, reason) = match denied {
        Denied::Malformed(_) => (Code::InvalidArgument, "INVALID"),
        Denied::Unauthenticated(_) => (Code::Unauthenticated, "UNAUTHENTICATED"),
        Denied::Forbidden(_) => (Code::PermissionDenied, "DENIED"),
    };
    of_interface(code, reason, denied.words()).into_http()
}
