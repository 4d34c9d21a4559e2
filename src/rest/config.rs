//! Calls that settle what is staged, and say what it comes to.

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
    responses((status = 200, description = "Both, whole.", body = SessionConfig, headers(("ETag" = ETag, description = "The revision.")))))]
pub(super) async fn get(caller: Caller) -> Result<Response, Problem> {
    let shown = caller.answer_at_length(ConfigGet(caller.session.clone()), |view| {
        ([(ETAG, etag(view.revision))], json(StatusCode::OK, &view)).into_response()
    });
    shown.await
}

/// Checks whether what is staged could be applied
#[utoipa::path(post, path = "/v1/session/config/validate", operation_id = "validateConfig", tag = "config",
    security(("session" = [])),
    responses(
        (status = 204, description = "It could."),
        (status = 200, description = "It could, but there is something that one should know before.", body = Valid),
        (status = 409, description = "It could not; every problem is named."),
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

/// Makes what is staged active, in one step
///
/// In whole, or in some sections; the rest stays staged. With nothing staged nothing changes.
#[utoipa::path(post, path = "/v1/session/config/apply", operation_id = "applyConfig", tag = "config",
    security(("session" = [])), request_body = Option<Apply>,
    params(("If-Match" = Option<IfMatchTag>, Header, description = "The revision that the caller last saw, as its `ETag`; several, of which one must be the present one; or `*`.", example = "*")),
    responses(
        (status = 200, description = "It is active.", body = Applied, headers(("ETag" = ETag, description = "The revision."))),
        (status = 409, description = "It cannot be applied; every problem is named."),
        (status = 412, description = "The revision has moved."),
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

/// Drops what is staged
#[utoipa::path(post, path = "/v1/session/config/rollback", operation_id = "rollbackConfig", tag = "config",
    security(("session" = [])), responses((status = 204, description = "Nothing is staged.")))]
pub(super) async fn rollback(caller: Caller) -> Result<StatusCode, Problem> {
    caller.done(ConfigRollback { session: caller.session.clone() }).await
}

/// Shows what an apply would change
#[utoipa::path(get, path = "/v1/session/config/diff", operation_id = "diffConfig", tag = "config",
    security(("session" = [])),
    responses((status = 200, description = "The difference.", body = Diff, headers(("ETag" = ETag, description = "The revision.")))))]
pub(super) async fn diff(caller: Caller) -> Result<Response, Problem> {
    let revision = etag(caller.revision()?);
    let shown = caller.ask_at_length(ConfigDiff(caller.session.clone())).await?;
    Ok(([(ETAG, revision)], shown).into_response())
}
