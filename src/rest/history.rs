//! The revisions of an instance, for its session and for operators: lists, one in full, and its restoration.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{ApplyReason, InstanceName, ServiceName, Subject};
use crate::json::numbers::Digits;
use crate::json::values::present;
use crate::registry::commands::AppliedView;
use crate::registry::queries::revisions::{RevisionDetailView, RevisionsPage};
use crate::registry::{Registry, RevertRequest};

use super::caller::{Caller, json};
use super::config::applied;
use super::extract::{BodyOrDefault, IfMatch, Segments, UrlQuery};
use super::operator::{InstancePath, Operator};
use super::overview::{PageQuery, page};
use super::problem::Problem;
use super::state::RestState;
use super::values::{ETag, IfMatchTag};

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(revert))
        .routes(routes!(list_of_instance))
        .routes(routes!(get_of_instance))
        .routes(routes!(revert_instance))
}

/// The number of a revision, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct RevisionPath {
    /// The number of the revision.
    #[param(value_type = u64, minimum = 1)]
    pub(super) number: Digits,
}

/// An instance and the number of one of its revisions, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct InstanceRevisionPath {
    /// The service.
    pub(super) service: ServiceName,
    /// The instance.
    pub(super) instance: InstanceName,
    /// The number of the revision.
    #[param(value_type = u64, minimum = 1)]
    pub(super) number: Digits,
}

/// The parameters of a revision.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RevisionQuery {
    /// The number of the revision with which it is compared; the active configuration if left out.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false, minimum = 1, value_type = Option<u64>)]
    pub(super) against: Option<Digits>,
}

/// The reason of a revert.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({ "reason": "the new checkout fails" }))]
pub(super) struct Revert {
    /// The reason, for the history and the audit.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub(super) reason: Option<ApplyReason>,
}

/// Lists the revisions of the session's instance, the latest first
///
/// Each apply that changes something makes a revision. The last 100 are kept, also of earlier sessions of the instance.
#[utoipa::path(get, path = "/v1/session/config/history", operation_id = "listConfigHistory", tag = "config",
    security(("session" = [])), params(PageQuery),
    responses((status = 200, description = "A page of the list.", body = RevisionsPage)))]
async fn list(caller: Caller, UrlQuery(asked): UrlQuery<PageQuery>) -> Result<Response, Problem> {
    let page = page(asked.limit, asked.cursor)?;
    Ok(json(StatusCode::OK, &caller.registry.revisions(&caller.session.clone().into(), &page).await?))
}

/// Shows a revision with its whole configuration, and the changes that lead to it
#[utoipa::path(get, path = "/v1/session/config/history/{number}", operation_id = "getConfigRevision", tag = "config",
    security(("session" = [])), params(RevisionPath, RevisionQuery),
    responses(
        (status = 200, description = "The revision.", body = RevisionDetailView),
        (status = 404, description = "There is no such revision, or it is no longer kept."),
    ))]
async fn get(
    caller: Caller,
    Segments(RevisionPath { number }): Segments<RevisionPath>,
    UrlQuery(RevisionQuery { against }): UrlQuery<RevisionQuery>,
) -> Result<Response, Problem> {
    let permit = caller.registry.permit_large_read(&caller.session)?;
    let mut response = shown(&caller.registry, &caller.session.clone().into(), number, against).await?;
    // The response keeps the permit until the client has read it.
    permit.into_iter().for_each(|permit| drop(response.extensions_mut().insert(Arc::new(permit))));
    Ok(response)
}

async fn shown(
    registry: &Registry,
    of: &Subject,
    number: Digits,
    against: Option<Digits>,
) -> Result<Response, Problem> {
    let view = registry.revision(of, number.0, against.map(|against| against.0)).await?;
    Ok(registry.run_long_read(|| json(StatusCode::OK, &view)).await)
}

/// Restores a revision
///
/// Makes a new revision with its configuration, in one step, with the checks of an apply. It is refused while something
/// is staged. If the configuration is the same already, nothing changes.
#[utoipa::path(post, path = "/v1/session/config/history/{number}/revert", operation_id = "revertConfig", tag = "config",
    security(("session" = [])), request_body = Option<Revert>,
    params(RevisionPath, ("If-Match" = Option<IfMatchTag>, Header, description = "The `ETag` of the revision that the caller has read; a list of revisions, of which one must be the session's; or `*`.", example = "*")),
    responses(
        (status = 200, description = "The configuration is active.", body = AppliedView, headers(("ETag" = ETag, description = "The revision."))),
        (status = 404, description = "There is no such revision, or it is no longer kept."),
        (status = 409, description = "Something is staged, or the configuration cannot be applied."),
        (status = 412, description = "The session has another revision."),
    ))]
async fn revert(
    caller: Caller,
    Segments(RevisionPath { number }): Segments<RevisionPath>,
    IfMatch(expected): IfMatch,
    BodyOrDefault(Revert { reason }): BodyOrDefault<Revert>,
) -> Result<Response, Problem> {
    let subject = caller.session.clone().into();
    let request = RevertRequest { subject, number: number.0, expected, reason };
    Ok(applied(&caller.registry.revert(caller.origin.clone(), request).await?))
}

/// Lists the revisions of an instance, the latest first
///
/// Each apply that changes something makes a revision. The last 100 are kept, also when the instance has no session.
#[utoipa::path(get, path = "/v1/instances/{service}/{instance}/history", operation_id = "listInstanceHistory",
    tag = "operators", security(("operator" = [])), params(InstancePath, PageQuery),
    responses(
        (status = 200, description = "A page of the list.", body = RevisionsPage),
        (status = 404, description = "There is no such instance."),
    ))]
async fn list_of_instance(
    State(state): State<RestState>,
    _: Operator,
    Segments(InstancePath { service, instance }): Segments<InstancePath>,
    UrlQuery(asked): UrlQuery<PageQuery>,
) -> Result<Response, Problem> {
    let page = page(asked.limit, asked.cursor)?;
    Ok(json(StatusCode::OK, &state.registry.revisions(&Subject::Instance(service, instance), &page).await?))
}

/// Shows a revision of an instance with its whole configuration, and the changes that lead to it
#[utoipa::path(get, path = "/v1/instances/{service}/{instance}/history/{number}", operation_id = "getInstanceRevision",
    tag = "operators", security(("operator" = [])), params(InstanceRevisionPath, RevisionQuery),
    responses(
        (status = 200, description = "The revision.", body = RevisionDetailView),
        (status = 404, description = "There is no such instance or revision, or it is no longer kept."),
        (status = 429, description = "Too many large answers of this instance are under way."),
    ))]
async fn get_of_instance(
    State(state): State<RestState>,
    _: Operator,
    Segments(InstanceRevisionPath { service, instance, number }): Segments<InstanceRevisionPath>,
    UrlQuery(RevisionQuery { against }): UrlQuery<RevisionQuery>,
) -> Result<Response, Problem> {
    let of = Subject::Instance(service, instance);
    let permit = state.registry.permit_revision_read(&of)?;
    let mut response = shown(&state.registry, &of, number, against).await?;
    permit.into_iter().for_each(|permit| drop(response.extensions_mut().insert(Arc::new(permit))));
    Ok(response)
}

/// Restores a revision of an instance
///
/// The same as the instance's own revert. The instance must have a session.
#[utoipa::path(post, path = "/v1/instances/{service}/{instance}/history/{number}/revert",
    operation_id = "revertInstance", tag = "operators", security(("operator" = [])), request_body = Option<Revert>,
    params(InstanceRevisionPath, ("If-Match" = Option<IfMatchTag>, Header, description = "The revision of the session that the caller has read, as an `ETag`; a list of revisions, of which one must be the session's; or `*`.", example = "*")),
    responses(
        (status = 200, description = "The configuration is active.", body = AppliedView, headers(("ETag" = ETag, description = "The revision."))),
        (status = 404, description = "There is no such instance or revision, or it is no longer kept."),
        (status = 409, description = "Something is staged, or the configuration cannot be applied."),
        (status = 412, description = "The session has another revision."),
    ))]
async fn revert_instance(
    State(state): State<RestState>,
    Operator(origin): Operator,
    Segments(InstanceRevisionPath { service, instance, number }): Segments<InstanceRevisionPath>,
    IfMatch(expected): IfMatch,
    BodyOrDefault(Revert { reason }): BodyOrDefault<Revert>,
) -> Result<Response, Problem> {
    let subject = Subject::Instance(service, instance);
    let request = RevertRequest { subject, number: number.0, expected, reason };
    Ok(applied(&state.registry.revert(origin, request).await?))
}
