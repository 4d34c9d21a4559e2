//! Calls that confirm an apply, or take it back. The id of the confirmation is all that they need.

use std::convert::Infallible;

use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::ConfirmationId;
use crate::registry::CallOrigin;
use crate::registry::commands::{ConfigCancel, ConfigConfirm};

use super::caller::{bearer, call_origin};
use super::extract::Segments;
use super::problem::Problem;
use super::state::RestState;

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new().routes(routes!(confirm, cancel))
}

/// The id of a confirmation, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct ConfirmationPath {
    /// The id, as the answer to the apply has it.
    #[param(value_type = String, min_length = 1, max_length = 128)]
    pub(super) id: String,
}

/// The origin of a call that anybody may make. An operator's token names its operator, for the history and the audit.
struct PerhapsOperator(CallOrigin);

impl FromRequestParts<RestState> for PerhapsOperator {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &RestState) -> Result<Self, Infallible> {
        let operator = bearer(&parts.headers).ok().flatten().and_then(|token| state.operators.named(token));
        Ok(Self(CallOrigin { operator, ..call_origin(parts) }))
    }
}

/// Confirms an apply, which then stays
#[utoipa::path(post, path = "/v1/confirmations/{id}", operation_id = "confirmConfig", tag = "config",
    security(()), params(ConfirmationPath),
    responses(
        (status = 204, description = "The apply stays."),
        (status = 404, description = "Nothing waits for this confirmation."),
    ))]
async fn confirm(
    State(state): State<RestState>,
    PerhapsOperator(origin): PerhapsOperator,
    Segments(path): Segments<ConfirmationPath>,
) -> Result<StatusCode, Problem> {
    state.registry.call(origin, ConfigConfirm { id: ConfirmationId::restore(&path.id) }).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes an apply back that waits for its confirmation
///
/// The configuration before it is restored at once, as a new revision. Staged changes stay staged.
#[utoipa::path(delete, path = "/v1/confirmations/{id}", operation_id = "cancelConfig", tag = "config",
    security(()), params(ConfirmationPath),
    responses(
        (status = 204, description = "The configuration before is active."),
        (status = 404, description = "Nothing waits for this confirmation."),
    ))]
async fn cancel(
    State(state): State<RestState>,
    PerhapsOperator(origin): PerhapsOperator,
    Segments(path): Segments<ConfirmationPath>,
) -> Result<StatusCode, Problem> {
    state.registry.call(origin, ConfigCancel { id: ConfirmationId::restore(&path.id) }).await?;
    Ok(StatusCode::NO_CONTENT)
}
