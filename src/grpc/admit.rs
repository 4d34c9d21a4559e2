//! Lets operators' calls through, and nobody else's.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderMap, HeaderValue};
use tonic::Code;

use crate::access::{Denied, Operators, Peer};

use super::status::of_door;

/// Answers a call that is not an operator's in its place.
pub(super) async fn admit(State(operators): State<Arc<Operators>>, request: Request, next: Next) -> Response {
    match admitted(&operators, &request) {
        Ok(()) => next.run(request).await,
        Err(denied) => {
            let (code, reason) = match denied {
                Denied::Unauthenticated(_) => (Code::Unauthenticated, "UNAUTHENTICATED"),
                Denied::Forbidden(_) => (Code::PermissionDenied, "DENIED"),
            };
            of_door(code, reason, denied.words()).into_http()
        }
    }
}

fn admitted(operators: &Operators, request: &Request) -> Result<(), Denied> {
    // Whoever serves this door puts the peer there.
    let Some(Peer(peer)) = request.extensions().get() else { return Err(Denied::Forbidden("the caller is not known")) };
    let field = request.headers().get(HOST).map(|host| host.to_str().unwrap_or("?"));
    let host = request.uri().authority().map(http::uri::Authority::as_str).or(field);
    operators.admits(bearer(request.headers()), peer.ip(), host)
}

/// The token of `authorization: Bearer TOKEN` (RFC 6750 §2.1; the scheme in any case, RFC 9110 §11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION).map(HeaderValue::to_str)?.ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}
