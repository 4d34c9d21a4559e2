//! Calls that apply, drop or describe staged changes.

use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};

use crate::registry::commands::{ConfigApply, ConfigRollback};
use crate::registry::replies::{ConfigDiff, ConfigGet, ConfigValidate};

use super::caller::{Caller, etag, json};
use super::dto::config::{Applied, Apply, Diff, SessionConfig, Valid};
use super::dto::values::{ETag, IfMatchTag};
use super::extract::{BodyOrDefault, IfMatch};
use super::problem::Problem;

/// Shows the active and the staged configuration
#[utoipa::path(get, path = "/v1/session/config", operation_id = "getConfig", tag = "config",
    security(("session" = [])),
    responses((status = 200, description = "Both configurations.", body = SessionConfig, headers(("ETag" = ETag, description = "The revision.")))))]
pub(super) async fn get(caller: Caller) -> Result<Response, Problem> {
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
pub(super) async fn validate(caller: Caller) -> Result<Response, Problem> {
    let shown = caller.ask_as(ConfigValidate(caller.session.clone()), |warnings| {
        if warnings.is_empty() {
            StatusCode::NO_CONTENT.into_response()
        } else {
            json(StatusCode::OK, &Valid { warnings })
        }
    });
    shown.await
}

/// Makes staged changes active, in one step
///
/// Applies all sections or some; the other ones stay staged. If nothing is staged, nothing changes.
#[utoipa::path(post, path = "/v1/session/config/apply", operation_id = "applyConfig", tag = "config",
    security(("session" = [])), request_body = Option<Apply>,
    params(("If-Match" = Option<IfMatchTag>, Header, description = "The `ETag` of the revision that the caller has read; a list of revisions, of which one must be the session's; or `*`.", example = "*")),
    responses(
        (status = 200, description = "The configuration is active.", body = Applied, headers(("ETag" = ETag, description = "The revision."))),
        (status = 409, description = "The staged configuration cannot be applied; the problem lists all errors."),
        (status = 412, description = "The session has another revision."),
    ))]
pub(super) async fn apply(
    caller: Caller,
    IfMatch(expected): IfMatch,
    BodyOrDefault(apply): BodyOrDefault<Apply>,
) -> Result<Response, Problem> {
    let sections = apply.sections().ok_or_else(|| Problem::wrong("scopes", &"is empty; leave it out to apply all"))?;
    let command = ConfigApply { session: caller.session.clone(), sections, expected };
    let revision = caller.run(command).await?;
    Ok(([(ETAG, etag(revision))], json(StatusCode::OK, &Applied { revision })).into_response())
}

/// Drops all staged changes
#[utoipa::path(post, path = "/v1/session/config/rollback", operation_id = "rollbackConfig", tag = "config",
    security(("session" = [])), responses((status = 204, description = "Nothing is staged.")))]
pub(super) async fn rollback(caller: Caller) -> Result<StatusCode, Problem> {
    caller.done(ConfigRollback { session: caller.session.clone() }).await
}

/// Shows the changes that an apply would make
#[utoipa::path(get, path = "/v1/session/config/diff", operation_id = "diffConfig", tag = "config",
    security(("session" = [])),
    responses((status = 200, description = "The changes.", body = Diff, headers(("ETag" = ETag, description = "The revision.")))))]
pub(super) async fn diff(caller: Caller) -> Result<Response, Problem> {
    let revision = etag(caller.revision()?);
    let shown = caller.answer_long_read(ConfigDiff(caller.session.clone())).await?;
    Ok(([(ETAG, revision)], shown).into_response())
}
