//! Calls about a running session: breakers, drain, maintenance, statistics, backend tests. Operators' calls for an
//! instance use the same functions.

use prost_types::{Duration, Timestamp};
use tonic::Status;

use crate::domain::{BackendUrl, PageUrl, Subject, Target};
use crate::registry::commands::{CircuitBreakerReset, DrainCancel, DrainStart, MaintEnter, MaintExit};
use crate::registry::queries::{BackendTest, CircuitBreakerStatus, StatsGet};

use crate::registry::calls::{DrainStatus, MaintStatus};

use super::convert::{places, session, span, timestamp};
use super::proto::{
    CancelDrainRequest, CancelDrainResponse, Drain, EnterMaintenanceRequest, EnterMaintenanceResponse,
    ExitMaintenanceRequest, ExitMaintenanceResponse, GetCircuitBreakerRequest, GetCircuitBreakerResponse,
    GetDrainRequest, GetDrainResponse, GetMaintenanceRequest, GetMaintenanceResponse, GetStatsRequest,
    GetStatsResponse, ResetCircuitBreakerRequest, ResetCircuitBreakerResponse, StartDrainRequest, StartDrainResponse,
    TestBackendRequest, TestBackendResponse,
};
use super::state::CallState;

pub(super) async fn get_circuit_breaker(
    state: &CallState,
    request: GetCircuitBreakerRequest,
) -> Result<GetCircuitBreakerResponse, Status> {
    let status = CircuitBreakerStatus { session: session(&request.session_id)?, id: request.route_id.parse()? };
    state.ask(status, GetCircuitBreakerResponse::from).await
}

pub(super) async fn reset_circuit_breaker(
    state: &CallState,
    request: ResetCircuitBreakerRequest,
) -> Result<ResetCircuitBreakerResponse, Status> {
    let session = session(&request.session_id)?;
    state.call(CircuitBreakerReset { session, id: request.route_id.parse()? }).await?;
    Ok(ResetCircuitBreakerResponse {})
}

pub(super) async fn start_drain(state: &CallState, request: StartDrainRequest) -> Result<StartDrainResponse, Status> {
    let subject = Subject::Session(session(&request.session_id)?);
    Ok(StartDrainResponse { completes_at: Some(drain(state, subject, request.duration).await?) })
}

/// Begins a drain, and returns the time when it completes.
pub(super) async fn drain(
    state: &CallState,
    subject: Subject,
    duration: Option<Duration>,
) -> Result<Timestamp, Status> {
    let span = span("duration", duration)?;
    let time = state.call(DrainStart { subject, span }).await?;
    Ok(timestamp(time))
}

pub(super) async fn get_drain(state: &CallState, request: GetDrainRequest) -> Result<GetDrainResponse, Status> {
    state
        .ask(DrainStatus(session(&request.session_id)?), |view| GetDrainResponse { drain: Some(Drain::from(view)) })
        .await
}

pub(super) async fn cancel_drain(
    state: &CallState,
    request: CancelDrainRequest,
) -> Result<CancelDrainResponse, Status> {
    state.call(DrainCancel { subject: Subject::Session(session(&request.session_id)?) }).await?;
    Ok(CancelDrainResponse {})
}

pub(super) async fn enter_maintenance(
    state: &CallState,
    request: EnterMaintenanceRequest,
) -> Result<EnterMaintenanceResponse, Status> {
    let subject = Subject::Session(session(&request.session_id)?);
    enter(state, subject, &request.targets, request.page_url.as_deref()).await?;
    Ok(EnterMaintenanceResponse {})
}

pub(super) async fn enter(
    state: &CallState,
    subject: Subject,
    targets: &[String],
    page: Option<&str>,
) -> Result<(), Status> {
    let places = places(targets)?;
    let page = page.map(PageUrl::parse).transpose()?;
    state.accept(MaintEnter { subject, places, page }).await
}

pub(super) async fn exit_maintenance(
    state: &CallState,
    request: ExitMaintenanceRequest,
) -> Result<ExitMaintenanceResponse, Status> {
    let subject = Subject::Session(session(&request.session_id)?);
    exit(state, subject, &request.targets).await?;
    Ok(ExitMaintenanceResponse {})
}

pub(super) async fn exit(state: &CallState, subject: Subject, targets: &[String]) -> Result<(), Status> {
    state.accept(MaintExit { subject, places: places(targets)? }).await
}

pub(super) async fn get_maintenance(
    state: &CallState,
    request: GetMaintenanceRequest,
) -> Result<GetMaintenanceResponse, Status> {
    state.ask(MaintStatus(session(&request.session_id)?), GetMaintenanceResponse::from).await
}

pub(super) async fn get_stats(state: &CallState, request: GetStatsRequest) -> Result<GetStatsResponse, Status> {
    let target = request.target.map_or(Ok(Target::All), |target| target.parse())?;
    let query = StatsGet { session: session(&request.session_id)?, target };
    state.ask(query, |views| GetStatsResponse { routes: views.into_iter().map(Into::into).collect() }).await
}

pub(super) async fn test_backend(
    state: &CallState,
    request: TestBackendRequest,
) -> Result<TestBackendResponse, Status> {
    let session = session(&request.session_id)?;
    let backend = Ok(BackendUrl::parse(&request.backend_url)?);
    Ok(TestBackendResponse::from(state.registry.test_backend(&BackendTest { session, backend }).await?))
}
