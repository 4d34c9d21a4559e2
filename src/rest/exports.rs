//! `GET /v1/export` and `POST /v1/import`: all instances as one readable document, for operators.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::registry::exports::{ImportOutcome, ImportWishes, InstancesExport};

use super::caller::json;
use super::extract::{Body, UrlQuery};
use super::operator::Operator;
use super::problem::Problem;
use super::state::RestState;

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new().routes(routes!(export)).routes(routes!(import))
}

/// The parameters of an import.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ImportQuery {
    /// With `true`, the answer shows the outcome, and nothing is changed.
    #[serde(default)]
    #[param(required = false)]
    pub(super) dry_run: bool,
    /// With `true`, the instances that are not refused are imported. Otherwise one refusal leaves everything as it was.
    #[serde(default)]
    #[param(required = false)]
    pub(super) partial: bool,
}

/// Exports all instances
///
/// The whole active configuration of each, whoever holds it, without session ids. Two exports of the same state are equal.
#[utoipa::path(get, path = "/v1/export", operation_id = "export", tag = "operators", security(("operator" = [])),
    responses(
        (status = 200, description = "The document.", body = InstancesExport),
        (status = 429, description = "Too many exports are under way."),
    ))]
async fn export(State(state): State<RestState>, _: Operator) -> Result<Response, Problem> {
    let permit = state.registry.permit_export()?;
    let mut response = state.registry.run_long_read(|| json(StatusCode::OK, &state.registry.export())).await;
    // The response keeps the permit until the client has read it.
    response.extensions_mut().insert(Arc::new(permit));
    Ok(response)
}

/// Imports an export
///
/// Each instance of the document becomes one that operators hold, as with `putInstance`: it needs no client and never
/// expires. An instance that a client or a configuration file holds, or whose places are taken, is refused, and then
/// nothing is imported unless `partial` is asked for. Instances that the document does not have stay as they are.
#[utoipa::path(post, path = "/v1/import", operation_id = "import", tag = "operators", security(("operator" = [])),
    params(ImportQuery), request_body = InstancesExport,
    responses(
        (status = 200, description = "The outcome for each instance.", body = ImportOutcome),
        (status = 409, description = "Instances are refused; the problem lists them. Nothing is imported."),
    ))]
async fn import(
    State(state): State<RestState>,
    Operator(origin): Operator,
    UrlQuery(ImportQuery { dry_run, partial }): UrlQuery<ImportQuery>,
    Body(export): Body<InstancesExport>,
) -> Result<Response, Problem> {
    Ok(json(StatusCode::OK, &state.registry.import(origin, export, ImportWishes { dry_run, partial }).await?))
}
