//! Calls that apply, drop or describe staged changes.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::registry::apply_options::ApplyOptions;
use crate::registry::calls::{ConfigDiff, ConfigGet, ConfigValidate};
use crate::registry::commands::{AppliedView, ConfigRollback};
use crate::registry::queries::configuration::{ConfigView, DiffView};

use super::caller::{Caller, etag, json};
use super::extract::{BodyOrDefault, IfMatch};
use super::problem::Problem;
use super::state::RestState;
use super::values::{ETag, IfMatchTag};

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new()
        .routes(routes!(get))
        .routes(routes!(validate))
        .routes(routes!(apply))
        .routes(routes!(rollback))
        .routes(routes!(diff))
}

/// The result of a validation with warnings.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Valid {
    /// The warnings: staged entries without effect, and routes of the replaced session that an apply would remove.
    pub(super) warnings: Vec<String>,
}

impl Valid {
    /// Returns the response for a configuration that can be applied.
    pub(super) fn response(warnings: Vec<String>) -> Response {
        if warnings.is_empty() {
            StatusCode::NO_CONTENT.into_response()
        } else {
            json(StatusCode::OK, &Valid { warnings })
        }
    }
}

/// Shows the active and the staged configuration
#[utoipa::path(get, path = "/v1/session/config", operation_id = "getConfig", tag = "config",
    security(("session" = [])),
    responses((status = 200, description = "Both configurations.", body = ConfigView, headers(("ETag" = ETag, description = "The revision.")))))]
async fn get(caller: Caller) -> Result<Response, Problem> {
    let shown = caller.answer_long_read_with(ConfigGet(caller.session.clone()), |view| {
        ([(ETAG, etag(view.revision))], json(StatusCode::OK, &view)).into_response()
    });
    shown.await
}

/// Checks that the staged configuration can be applied
#[utoipa::path(post, path = "/v1/session/config/validate", operation_id = "validateConfig", tag = "config",
    security(("session" = [])),
    responses(
        (status = 204, description = "The staged configuration can be applied."),
        (status = 200, description = "The staged configuration can be applied, with warnings.", body = Valid),
        (status = 409, description = "The staged configuration cannot be applied; the problem lists all errors."),
    ))]
async fn validate(caller: Caller) -> Result<Response, Problem> {
    caller.ask_as(ConfigValidate(caller.session.clone()), Valid::response).await
}

/// Makes staged changes active, in one step
///
/// Applies all sections or some; the other ones stay staged. If nothing is staged, nothing changes. With `confirm_within`,
/// the configuration before is restored at the deadline, unless the apply is confirmed by the id in the answer. While an
/// apply waits, further ones are refused.
#[utoipa::path(post, path = "/v1/session/config/apply", operation_id = "applyConfig", tag = "config",
    security(("session" = [])), request_body = Option<ApplyOptions>,
    params(("If-Match" = Option<IfMatchTag>, Header, description = "The `ETag` of the revision that the caller has read; a list of revisions, of which one must be the session's; or `*`.", example = "*")),
    responses(
        (status = 200, description = "The configuration is active.", body = AppliedView, headers(("ETag" = ETag, description = "The revision."))),
        (status = 409, description = "The staged configuration cannot be applied; the problem lists all errors."),
        (status = 412, description = "The session has another revision."),
    ))]
async fn apply(
    State(state): State<RestState>,
    caller: Caller,
    IfMatch(expected): IfMatch,
    BodyOrDefault(options): BodyOrDefault<ApplyOptions>,
) -> Result<Response, Problem> {
    let command = options.command(caller.session.clone().into(), expected, (state.settings.nonce)())?;
    Ok(applied(&state.registry.apply(caller.origin, command).await?))
}

/// Returns the response to an apply or a revert.
pub(super) fn applied(view: &AppliedView) -> Response {
    ([(ETAG, etag(view.revision))], json(StatusCode::OK, view)).into_response()
}

/// Drops all staged changes
#[utoipa::path(post, path = "/v1/session/config/rollback", operation_id = "rollbackConfig", tag = "config",
    security(("session" = [])), responses((status = 204, description = "Nothing is staged.")))]
async fn rollback(caller: Caller) -> Result<StatusCode, Problem> {
    caller.done(ConfigRollback { subject: caller.session.clone().into() }).await
}

/// Shows the changes that an apply would make
#[utoipa::path(get, path = "/v1/session/config/diff", operation_id = "diffConfig", tag = "config",
    security(("session" = [])),
    responses((status = 200, description = "The changes.", body = DiffView, headers(("ETag" = ETag, description = "The revision.")))))]
async fn diff(caller: Caller) -> Result<Response, Problem> {
    let revision = etag(caller.revision()?);
    let shown = caller.answer_long_read(ConfigDiff(caller.session.clone())).await?;
    Ok(([(ETAG, revision)], shown).into_response())
}
