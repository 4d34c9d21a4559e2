//! Counts the calls that the writer of the registry does not decide: queries, and commands that are refused before it.
//!
//! Invariant: a call is counted once, here or by the writer, under the name that it has on the other interfaces too.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tonic::{Code, Status};

use crate::domain::Kind;
use crate::operator_auth::CallerAddresses;
use crate::registry::{CallMark, CallOrigin, Interface, OTHER_CALL, Registry, call_name};

/// The calls of sessions; those of operators have another service.
const SESSION_CALLS: &str = "/signalbox.v1.Registry/";
/// The calls of both.
const CALLS: &str = "/signalbox.v1.";

/// Counts a call.
pub(super) async fn count_call(State(registry): State<Registry>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let (is_of_session, method) = (path.starts_with(SESSION_CALLS), path.rsplit_once('/').map(|(_, method)| method));
    let name = method.filter(|_| path.starts_with(CALLS)).and_then(call_name);
    let peer = request.extensions().get::<CallerAddresses>().map(|peer| peer.client);
    let origin = CallOrigin::new(Interface::Grpc, peer).marked(CallMark::of_call());
    request.extensions_mut().insert(origin.mark.clone());
    let response = next.run(request).await;
    let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
    let name = if code == Code::Unimplemented { Some(OTHER_CALL) } else { name };
    if let Some(name) = name {
        registry.count_call(name, &origin, outcome(code, is_of_session));
    }
    response
}

fn outcome(code: Code, is_of_session: bool) -> Result<(), Kind> {
    Err(match code {
        Code::Ok => return Ok(()),
        Code::InvalidArgument | Code::Unimplemented => Kind::Invalid,
        Code::Unauthenticated if is_of_session => Kind::InvalidSession,
        Code::Unauthenticated | Code::PermissionDenied => Kind::Denied,
        Code::NotFound => Kind::NotFound,
        Code::AlreadyExists => Kind::AlreadyExists,
        Code::Aborted => Kind::Conflict,
        Code::FailedPrecondition => Kind::Refused,
        // A message that is too long is out of range.
        Code::ResourceExhausted | Code::OutOfRange => Kind::Limited,
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Kind::Unavailable,
        Code::Internal | Code::Unknown | Code::DataLoss => Kind::Internal,
    })
}
