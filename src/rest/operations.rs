//! Calls about a running session: breakers, drain, maintenance, statistics, backend tests.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{BackendUrl, PageUrl, RouteId, Subject, Target, Time};
use crate::json::numbers::Duration;
use crate::json::values::present;
use crate::registry::calls::{DrainStatus, MaintStatus};
use crate::registry::commands::{CircuitBreakerReset, DrainCancel, DrainStart, MaintEnter, MaintExit};
use crate::registry::queries::status::{BackendView, BreakerView, DrainView, MaintenanceView, StatsView};
use crate::registry::queries::{self, CircuitBreakerStatus, StatsGet};
use crate::registry::{CallOrigin, Command};

use super::caller::{Caller, json};
use super::extract::{Body, BodyOrDefault, Segments, UrlQuery};
use super::problem::Problem;
use super::state::RestState;
use super::values::Places;

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new()
        .routes(routes!(get_circuit_breaker))
        .routes(routes!(reset_circuit_breaker))
        .routes(routes!(get_drain, start_drain, cancel_drain))
        .routes(routes!(get_maintenance))
        .routes(routes!(enter_maintenance, exit_maintenance))
        .routes(routes!(get_stats))
        .routes(routes!(test_backend))
}

/// The route of a breaker, in a path that takes any target for other calls.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct BreakerPath {
    /// The route.
    pub(super) target: RouteId,
}

/// The settings of a drain.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "duration": "5m" }))]
pub(super) struct StartDrain {
    /// The time in which the share of traffic falls linearly from 100 % to 0 %.
    pub(super) duration: Duration,
}

/// A drain that runs.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Draining {
    /// The time from which the session gets no new requests.
    #[schema(value_type = String, format = DateTime)]
    pub(super) completes_at: Time,
}

/// The targets of maintenance, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct PlacesPath {
    /// `ALL`, route ids, paths (percent-encoded) or domains, separated by commas.
    pub(super) target: Places,
}

/// The settings of maintenance.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "page_url": "http://127.0.0.1:3000/down.html" }))]
pub(super) struct EnterMaintenance {
    /// The URL of the page to show during maintenance. A built-in page if left out.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub(super) page_url: Option<PageUrl>,
}

/// The parameters of a request for statistics.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[into_params(parameter_in = Query)]
pub(super) struct StatsQuery {
    /// A route, or `ALL` for all active routes.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) target: Option<Target>,
}

/// A backend to test.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "backend_url": "http://127.0.0.1:3000" }))]
pub(super) struct BackendTest {
    /// The backend.
    pub(super) backend_url: BackendUrl,
}

/// Shows a route's circuit breaker
#[utoipa::path(get, path = "/v1/session/circuit-breakers/{target}", operation_id = "getCircuitBreaker",
    tag = "operations", security(("session" = [])), params(BreakerPath),
    responses(
        (status = 200, description = "The breaker. A route without a breaker has a closed one.", body = BreakerView),
        (status = 404, description = "There is no such route in this session."),
        (status = 409, description = "The route is not active yet."),
    ))]
async fn get_circuit_breaker(
    caller: Caller,
    Segments(BreakerPath { target }): Segments<BreakerPath>,
) -> Result<Response, Problem> {
    let status = CircuitBreakerStatus { session: caller.session.clone(), id: target };
    caller.ask(status).await
}

/// Closes a route's circuit breaker
#[utoipa::path(post, path = "/v1/session/circuit-breakers/{target}/reset", operation_id = "resetCircuitBreaker",
    tag = "operations", security(("session" = [])), params(BreakerPath),
    responses(
        (status = 204, description = "The breaker is closed."),
        (status = 404, description = "There is no such route in this session."),
        (status = 409, description = "The route has no breaker, or is not active yet."),
    ))]
async fn reset_circuit_breaker(
    caller: Caller,
    Segments(BreakerPath { target }): Segments<BreakerPath>,
) -> Result<StatusCode, Problem> {
    caller.done(CircuitBreakerReset { session: caller.session.clone(), id: target }).await
}

/// Shows the session's drain
#[utoipa::path(get, path = "/v1/session/drain", operation_id = "getDrain", tag = "operations",
    security(("session" = [])),
    responses(
        (status = 200, description = "The drain, running or complete.", body = DrainView),
        (status = 409, description = "No drain is in progress."),
    ))]
async fn get_drain(caller: Caller) -> Result<Response, Problem> {
    caller.ask(DrainStatus(caller.session.clone())).await
}

/// Begins to drain the session
///
/// Its share of traffic falls linearly from 100 % to 0 %. If the session drains already, the drain begins again.
#[utoipa::path(put, path = "/v1/session/drain", operation_id = "startDrain", tag = "operations",
    security(("session" = [])), request_body = StartDrain,
    responses((status = 200, description = "The drain runs.", body = Draining)))]
async fn start_drain(caller: Caller, Body(drain): Body<StartDrain>) -> Result<Response, Problem> {
    let end =
        caller.run(DrainStart { subject: Subject::Session(caller.session.clone()), span: drain.duration.0 }).await?;
    Ok(draining(end))
}

/// Returns the response for a running drain, with the time of its end.
pub(super) fn draining(end: Time) -> Response {
    json(StatusCode::OK, &Draining { completes_at: end })
}

/// Cancels the session's drain
#[utoipa::path(delete, path = "/v1/session/drain", operation_id = "cancelDrain", tag = "operations",
    security(("session" = [])),
    responses(
        (status = 204, description = "The drain is cancelled; the full share of traffic is restored."),
        (status = 409, description = "No drain is in progress."),
    ))]
async fn cancel_drain(caller: Caller) -> Result<StatusCode, Problem> {
    caller.done(DrainCancel { subject: Subject::Session(caller.session.clone()) }).await
}

/// Shows the routes that are in maintenance
#[utoipa::path(get, path = "/v1/session/maintenance", operation_id = "getMaintenance", tag = "operations",
    security(("session" = [])),
    responses((status = 200, description = "The routes.", body = MaintenanceView)))]
async fn get_maintenance(caller: Caller) -> Result<Response, Problem> {
    caller.ask(MaintStatus(caller.session.clone())).await
}

/// Puts routes into maintenance
///
/// They enter at once. The server then tests the page for up to 60 s.
#[utoipa::path(put, path = "/v1/session/maintenance/{target}", operation_id = "enterMaintenance", tag = "operations",
    security(("session" = [])), params(PlacesPath), request_body = Option<EnterMaintenance>,
    responses(
        (status = 202, description = "The routes are in maintenance, and a `maintenance_changed` event is sent. If the page does not answer, a `maintenance_failed` event follows."),
        (status = 404, description = "There is no such route in this session."),
        (status = 429, description = "Too many requests wait for their outcome."),
    ))]
async fn enter_maintenance(
    State(state): State<RestState>,
    caller: Caller,
    Segments(PlacesPath { target }): Segments<PlacesPath>,
    BodyOrDefault(enter): BodyOrDefault<EnterMaintenance>,
) -> Result<StatusCode, Problem> {
    let page = enter.page_url;
    let subject = Subject::Session(caller.session);
    accepted(&state, caller.origin, MaintEnter { subject, places: target.0, page }).await
}

/// Asks to take routes out of maintenance
///
/// They leave when their backends answer. The server waits for that for up to 60 s after the response.
#[utoipa::path(delete, path = "/v1/session/maintenance/{target}", operation_id = "exitMaintenance", tag = "operations",
    security(("session" = [])), params(PlacesPath),
    responses(
        (status = 202, description = "The request is accepted. A `maintenance_changed` event is sent when the routes have left maintenance, a `maintenance_failed` event if they have not."),
        (status = 404, description = "There is no such route in this session."),
        (status = 429, description = "Too many requests wait for their outcome."),
    ))]
async fn exit_maintenance(
    State(state): State<RestState>,
    caller: Caller,
    Segments(PlacesPath { target }): Segments<PlacesPath>,
) -> Result<StatusCode, Problem> {
    let subject = Subject::Session(caller.session);
    accepted(&state, caller.origin, MaintExit { subject, places: target.0 }).await
}

/// Executes a maintenance request. A task waits for its outcome.
pub(super) async fn accepted(
    state: &RestState,
    origin: CallOrigin,
    command: impl Into<Command>,
) -> Result<StatusCode, Problem> {
    let (accepted, answered) = oneshot::channel();
    let request = state.registry.clone().maintain(origin, command.into(), accepted);
    state.lifecycle.spawn_one("REST maintenance", request);
    answered.await.map_err(|_| Problem::fault())??;
    Ok(StatusCode::ACCEPTED)
}

/// Shows statistics
///
/// Always an array, with an entry for one route or for each active route.
#[utoipa::path(get, path = "/v1/session/stats", operation_id = "getStats", tag = "operations",
    security(("session" = [])), params(StatsQuery),
    responses(
        (status = 200, description = "An entry for each requested route.", body = Vec<StatsView>),
        (status = 404, description = "There is no such route in this session."),
        (status = 409, description = "The route is not active yet."),
    ))]
async fn get_stats(caller: Caller, UrlQuery(asked): UrlQuery<StatsQuery>) -> Result<Response, Problem> {
    let target = asked.target.unwrap_or(Target::All);
    caller.answer_long_read(StatsGet { session: caller.session.clone(), target }).await
}

/// Tests a backend, for 5 s at most
#[utoipa::path(post, path = "/v1/session/backend-tests", operation_id = "testBackend", tag = "operations",
    security(("session" = [])), request_body = BackendTest,
    responses(
        (status = 200, description = "The result of the test. A backend that does not answer is not an error.", body = BackendView),
        (status = 403, description = "The registration token does not allow this."),
        (status = 429, description = "Too many tests are running."),
    ))]
async fn test_backend(caller: Caller, Body(test): Body<BackendTest>) -> Result<Response, Problem> {
    let test = queries::BackendTest { session: caller.session.clone(), backend: Ok(test.backend_url) };
    Ok(json(StatusCode::OK, &caller.registry.test_backend(&test).await?))
}
