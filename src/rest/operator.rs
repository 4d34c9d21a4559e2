//! Operators' calls that change instances, and the check that the caller is an operator.
//!
//! Invariant: `operator_auth` checks the caller before anything is done or shown.

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::{HOST, HeaderValue, ORIGIN};
use axum::http::request::Parts;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{InstanceName, PageUrl, ServiceName, Subject, Target};
use crate::json::values::present;
use crate::operator_auth::{ApiRequest, Denied};
use crate::registry::commands::{ClientShutdown, DrainCancel, DrainStart, MaintEnter, MaintExit, TargetSelector};
use crate::registry::{CallOrigin, ReloadView};

use super::caller::{bearer, call_origin, json};
use super::extract::{Body, BodyOrDefault, Segments, UrlQuery};
use super::operations::{Draining, StartDrain, accepted, draining};
use super::problem::Problem;
use super::state::RestState;
use super::values::Places;

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new()
        .routes(routes!(reload))
        .routes(routes!(evict))
        .routes(routes!(start_drain, cancel_drain))
        .routes(routes!(enter_maintenance, exit_maintenance))
}

/// An instance, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct InstancePath {
    /// The service.
    pub(super) service: ServiceName,
    /// The instance.
    pub(super) instance: InstanceName,
}

/// The settings of an instance's maintenance.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "target": "ALL", "page_url": "http://127.0.0.1:3000/down.html" }))]
pub(super) struct EnterInstanceMaintenance {
    /// The targets that enter maintenance. `ALL` if left out.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub(super) target: Option<Places>,
    /// The URL of the page to show during maintenance. A built-in page if left out.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub(super) page_url: Option<PageUrl>,
}

/// The parameters of the end of an instance's maintenance.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExitQuery {
    /// The targets that leave maintenance. `ALL` if left out.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) target: Option<Places>,
}

/// The extractor that lets only operators pass, with the origin of the call.
pub(super) struct Operator(pub(super) CallOrigin);

impl FromRequestParts<RestState> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, Problem> {
        let token = bearer(&parts.headers)?;
        let operator = state.operators.check(&ApiRequest::of_parts(parts), token)?;
        if token.is_none() && is_forged(parts, &state.settings.cors) {
            return Err(Denied::Forbidden(
                "a page of another origin (Origin) may change nothing without a token; add its origin to api.cors, or set \
                 api.operator_tokens",
            )
            .into());
        }
        Ok(Self(call_origin(parts).by(operator)))
    }
}

/// Returns true for a change that a page of another origin asks for. Browsers send some of them without asking first, and
/// on this machine they would need no token.
fn is_forged(parts: &Parts, allowed: &[String]) -> bool {
    let Some(origin) = parts.headers.get(ORIGIN).filter(|_| !parts.method.is_safe()) else { return false };
    let host = parts.headers.get(HOST).map(HeaderValue::as_bytes);
    let host = host.or(parts.uri.authority().map(|authority| authority.as_str().as_bytes()));
    let own = |scheme: &[u8]| origin.as_bytes().strip_prefix(scheme).is_some_and(|named| Some(named) == host);
    !own(b"http://") && !own(b"https://") && !allowed.iter().any(|one| one.as_bytes() == origin.as_bytes())
}

impl InstancePath {
    pub(super) fn subject(self) -> Subject {
        Subject::Instance(self.service, self.instance)
    }
}

/// Makes the server read its configuration again
///
/// The same as `SIGHUP`. An invalid configuration changes nothing.
#[utoipa::path(post, path = "/v1/reload", operation_id = "reloadConfig", tag = "operators",
    security(("operator" = [])),
    responses(
        (status = 200, description = "The configuration is in force, except the keys that need a restart.", body = ReloadView),
        (status = 409, description = "The configuration is invalid; the detail says what is wrong."),
    ))]
async fn reload(State(state): State<RestState>, Operator(origin): Operator) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &state.registry.reload(origin).await?))
}

/// Ends an instance's session
///
/// Its routes are gone at once; requests in flight finish.
#[utoipa::path(delete, path = "/v1/instances/{service}/{instance}", operation_id = "evictInstance", tag = "operators",
    security(("operator" = [])), params(InstancePath),
    responses(
        (status = 204, description = "The session has ended."),
        (status = 404, description = "There is no such instance."),
    ))]
async fn evict(
    State(state): State<RestState>,
    Operator(origin): Operator,
    Segments(instance): Segments<InstancePath>,
) -> Result<StatusCode, Problem> {
    let command = ClientShutdown { subject: instance.subject(), connection: None };
    state.registry.call(origin, command).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begins to drain an instance
///
/// Its share of traffic falls linearly from 100 % to 0 %. If the instance drains already, the drain begins again.
#[utoipa::path(put, path = "/v1/instances/{service}/{instance}/drain", operation_id = "startInstanceDrain",
    tag = "operators", security(("operator" = [])), params(InstancePath), request_body = StartDrain,
    responses(
        (status = 200, description = "The drain runs.", body = Draining),
        (status = 404, description = "There is no such instance."),
    ))]
async fn start_drain(
    State(state): State<RestState>,
    Operator(origin): Operator,
    Segments(instance): Segments<InstancePath>,
    Body(drain): Body<StartDrain>,
) -> Result<Response, Problem> {
    let command = DrainStart { subject: instance.subject(), span: drain.duration.0 };
    Ok(draining(state.registry.call(origin, command).await?))
}

/// Cancels an instance's drain
#[utoipa::path(delete, path = "/v1/instances/{service}/{instance}/drain", operation_id = "cancelInstanceDrain",
    tag = "operators", security(("operator" = [])), params(InstancePath),
    responses(
        (status = 204, description = "The drain is cancelled; the full share of traffic is restored."),
        (status = 404, description = "There is no such instance."),
        (status = 409, description = "No drain is in progress."),
    ))]
async fn cancel_drain(
    State(state): State<RestState>,
    Operator(origin): Operator,
    Segments(instance): Segments<InstancePath>,
) -> Result<StatusCode, Problem> {
    state.registry.call(origin, DrainCancel { subject: instance.subject() }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts an instance into maintenance
///
/// All of its routes or some enter at once. The server then tests the page for up to 60 s.
#[utoipa::path(put, path = "/v1/instances/{service}/{instance}/maintenance", operation_id = "enterInstanceMaintenance",
    tag = "operators", security(("operator" = [])), params(InstancePath),
    request_body = Option<EnterInstanceMaintenance>,
    responses(
        (status = 202, description = "The routes are in maintenance, and a `maintenance_changed` event is sent. If the page does not answer, a `maintenance_failed` event follows."),
        (status = 404, description = "There is no such instance, or no such route in it."),
        (status = 429, description = "Too many requests wait for their outcome."),
    ))]
async fn enter_maintenance(
    State(state): State<RestState>,
    Operator(origin): Operator,
    Segments(instance): Segments<InstancePath>,
    BodyOrDefault(enter): BodyOrDefault<EnterInstanceMaintenance>,
) -> Result<StatusCode, Problem> {
    let (places, page) = (places(enter.target), enter.page_url);
    accepted(&state, origin, MaintEnter { subject: instance.subject(), places, page }).await
}

/// Asks to take an instance out of maintenance
///
/// It leaves when its backends answer. The server waits for that for up to 60 s after the response.
#[utoipa::path(delete, path = "/v1/instances/{service}/{instance}/maintenance", operation_id = "exitInstanceMaintenance",
    tag = "operators", security(("operator" = [])), params(InstancePath, ExitQuery),
    responses(
        (status = 202, description = "The request is accepted. A `maintenance_changed` event is sent when the routes have left maintenance, a `maintenance_failed` event if they have not."),
        (status = 404, description = "There is no such instance, or no such route in it."),
        (status = 429, description = "Too many requests wait for their outcome."),
    ))]
async fn exit_maintenance(
    State(state): State<RestState>,
    Operator(origin): Operator,
    Segments(instance): Segments<InstancePath>,
    UrlQuery(ExitQuery { target }): UrlQuery<ExitQuery>,
) -> Result<StatusCode, Problem> {
    accepted(&state, origin, MaintExit { subject: instance.subject(), places: places(target) }).await
}

fn places(named: Option<Places>) -> Vec<TargetSelector> {
    named.map_or_else(|| vec![TargetSelector::Target(Target::All)], |places| places.0)
}
