//! Operators' calls about the configurations of an instance: those of its session, without its credential.
//!
//! Invariant: none of them is activity of the instance.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::Subject;
use crate::registry::apply_options::ApplyOptions;
use crate::registry::commands::{AppliedView, ConfigRollback};
use crate::registry::queries::configuration::{ConfigView, DiffView};

use super::caller::{etag, json};
use super::config::{Valid, applied};
use super::extract::{BodyOrDefault, IfMatch, Segments};
use super::operator::{InstancePath, Operator};
use super::problem::Problem;
use super::state::RestState;
use super::values::{ETag, IfMatchTag};

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new()
        .routes(routes!(get))
        .routes(routes!(diff))
        .routes(routes!(validate))
        .routes(routes!(apply))
        .routes(routes!(rollback))
}

/// Shows the active and the staged configuration of an instance
#[utoipa::path(get, path = "/v1/instances/{service}/{instance}/config", operation_id = "getInstanceConfig",
    tag = "operators", security(("operator" = [])), params(InstancePath),
    responses(
        (status = 200, description = "Both configurations.", body = ConfigView, headers(("ETag" = ETag, description = "The revision."))),
        (status = 404, description = "There is no such instance."),
        (status = 429, description = "Too many large answers of this instance are under way."),
    ))]
async fn get(
    State(state): State<RestState>,
    _: Operator,
    Segments(instance): Segments<InstancePath>,
) -> Result<Response, Problem> {
    let subject = instance.subject();
    large(&state, &subject, || {
        let view = state.registry.config_of(&subject)?;
        Ok(([(ETAG, etag(view.revision))], json(StatusCode::OK, &view)).into_response())
    })
    .await
}

/// Shows the changes that an apply of an instance would make
#[utoipa::path(get, path = "/v1/instances/{service}/{instance}/config/diff", operation_id = "diffInstanceConfig",
    tag = "operators", security(("operator" = [])), params(InstancePath),
    responses(
        (status = 200, description = "The changes.", body = DiffView, headers(("ETag" = ETag, description = "The revision."))),
        (status = 404, description = "There is no such instance."),
        (status = 429, description = "Too many large answers of this instance are under way."),
    ))]
async fn diff(
    State(state): State<RestState>,
    _: Operator,
    Segments(instance): Segments<InstancePath>,
) -> Result<Response, Problem> {
    let subject = instance.subject();
    large(&state, &subject, || {
        let (view, revision) = state.registry.diff_of(&subject)?;
        Ok(([(ETAG, etag(revision))], json(StatusCode::OK, &view)).into_response())
    })
    .await
}

/// Makes an answer that grows with the session. The response keeps the permit until the client has read it.
pub(super) async fn large(
    state: &RestState,
    subject: &Subject,
    read: impl FnOnce() -> Result<Response, Problem>,
) -> Result<Response, Problem> {
    let permit = state.registry.permit_large_read_of(subject)?;
    let mut response = state.registry.run_long_read(read).await?;
    permit.into_iter().for_each(|permit| drop(response.extensions_mut().insert(Arc::new(permit))));
    Ok(response)
}

/// Checks that the staged configuration of an instance can be applied
#[utoipa::path(post, path = "/v1/instances/{service}/{instance}/config/validate",
    operation_id = "validateInstanceConfig", tag = "operators", security(("operator" = [])), params(InstancePath),
    responses(
        (status = 204, description = "The staged configuration can be applied."),
        (status = 200, description = "The staged configuration can be applied, with warnings.", body = Valid),
        (status = 404, description = "There is no such instance."),
        (status = 409, description = "The staged configuration cannot be applied; the problem lists all errors."),
    ))]
async fn validate(
    State(state): State<RestState>,
    _: Operator,
    Segments(instance): Segments<InstancePath>,
) -> Result<Response, Problem> {
    let subject = instance.subject();
    Ok(Valid::response(state.registry.run_long_read(|| state.registry.validate_of(&subject)).await?))
}

/// Makes staged changes of an instance active, in one step
///
/// Applies all sections or some; the other ones stay staged. If nothing is staged, nothing changes.
#[utoipa::path(post, path = "/v1/instances/{service}/{instance}/config/apply", operation_id = "applyInstanceConfig",
    tag = "operators", security(("operator" = [])), request_body = Option<ApplyOptions>,
    params(InstancePath, ("If-Match" = Option<IfMatchTag>, Header, description = "The `ETag` of the revision that the caller has read; a list of revisions, of which one must be the instance's; or `*`.", example = "*")),
    responses(
        (status = 200, description = "The configuration is active.", body = AppliedView, headers(("ETag" = ETag, description = "The revision."))),
        (status = 404, description = "There is no such instance."),
        (status = 409, description = "The staged configuration cannot be applied; the problem lists all errors."),
        (status = 412, description = "The instance has another revision."),
    ))]
async fn apply(
    State(state): State<RestState>,
    Operator(origin): Operator,
    Segments(instance): Segments<InstancePath>,
    IfMatch(expected): IfMatch,
    BodyOrDefault(options): BodyOrDefault<ApplyOptions>,
) -> Result<Response, Problem> {
    let command = options.command(instance.subject(), expected, (state.settings.nonce)())?;
    Ok(applied(&state.registry.apply(origin, command).await?))
}

/// Drops all staged changes of an instance
#[utoipa::path(post, path = "/v1/instances/{service}/{instance}/config/rollback",
    operation_id = "rollbackInstanceConfig", tag = "operators", security(("operator" = [])), params(InstancePath),
    responses(
        (status = 204, description = "Nothing is staged."),
        (status = 404, description = "There is no such instance."),
    ))]
async fn rollback(
    State(state): State<RestState>,
    Operator(origin): Operator,
    Segments(instance): Segments<InstancePath>,
) -> Result<StatusCode, Problem> {
    state.registry.call(origin, ConfigRollback { subject: instance.subject() }).await?;
    Ok(StatusCode::NO_CONTENT)
}
