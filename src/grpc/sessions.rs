//! Calls that open, read and end sessions.

use tonic::Status;

use crate::domain::{Error, Lease, Origin, Secret, Subject};
use crate::registry::commands::{ClientShutdown, Reconnect, Register};

use crate::registry::Reconnected;
use crate::registry::calls::{Ping, SessionInfo};

use super::convert::{instance_name, metadata, port, service_name, session};
use super::proto::{
    EndSessionRequest, EndSessionResponse, GetSessionRequest, GetSessionResponse, PingRequest, PingResponse,
    ReconnectRequest, ReconnectResponse, RegisterRequest, RegisterResponse,
};
use super::state::CallState;

pub(super) async fn register(
    state: &CallState,
    origin: Option<Origin>,
    request: RegisterRequest,
) -> Result<RegisterResponse, Status> {
    let register = Register {
        service: service_name(&request.service_name)?,
        instance: instance_name(&request.instance_name)?,
        maintenance_port: port("maintenance_port", request.maintenance_port)?,
        metadata: metadata(request.metadata)?,
        nonce: state.nonce(),
        connection: None,
        token: request.token.as_deref().map(Secret::new),
        origin,
        lease: request.lease.as_deref().map(Lease::parse).transpose()?,
    };
    let id = state.call(register).await.map_err(as_named_here)?;
    Ok(RegisterResponse { session_id: id.reveal().to_owned() })
}

/// Renames the field of a refusal: the registry uses the field names of the pipe.
fn as_named_here(error: Error) -> Error {
    if error.field() == Some("service") { error.about("service_name") } else { error }
}

pub(super) async fn reconnect(state: &CallState, request: ReconnectRequest) -> Result<ReconnectResponse, Status> {
    let session = session(&request.session_id)?;
    match state.call(Reconnect { session, connection: None }).await? {
        Reconnected::Bound => Ok(ReconnectResponse {}),
        Reconnected::Gone => Err(Error::invalid_session().into()),
    }
}

pub(super) async fn ping(state: &CallState, request: PingRequest) -> Result<PingResponse, Status> {
    state.ask(Ping(session(&request.session_id)?), |()| PingResponse {}).await
}

pub(super) async fn get_session(state: &CallState, request: GetSessionRequest) -> Result<GetSessionResponse, Status> {
    state.ask(SessionInfo(session(&request.session_id)?), |view| GetSessionResponse::from(*view)).await
}

pub(super) async fn end_session(state: &CallState, request: EndSessionRequest) -> Result<EndSessionResponse, Status> {
    let subject = Subject::Session(session(&request.session_id)?);
    state.call(ClientShutdown { subject, connection: None }).await?;
    Ok(EndSessionResponse {})
}
