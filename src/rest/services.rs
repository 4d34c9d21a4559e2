//! Calls of operators for whole configurations: they list services, show an instance's configuration, put and remove
//! instances.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::ETAG;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::Subject;
use crate::registry::commands::{PutInstance, RemoveInstance};
use crate::registry::instance_config::InstanceConfig;
use crate::registry::instance_outcomes::InstancePut;
use crate::registry::queries::services::ServicesPage;

use super::caller::{etag, json};
use super::conditions::Conditions;
use super::extract::{Body, Segments, UrlQuery};
use super::instance_config::large;
use super::operator::{InstancePath, Operator};
use super::overview::{PageQuery, page};
use super::problem::Problem;
use super::state::RestState;
use super::values::{ETag, IfMatchTag};

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get, put, remove))
}

/// The parameters of a put.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PutQuery {
    /// With `true`, the answer shows the changes, and nothing is changed.
    #[serde(default)]
    #[param(required = false)]
    pub(super) dry_run: bool,
}

/// Lists the services, sorted by name
#[utoipa::path(get, path = "/v1/services", operation_id = "listServices", tag = "operators",
    security(("operator" = [])), params(PageQuery),
    responses((status = 200, description = "A page of the list.", body = ServicesPage)))]
async fn list(
    State(state): State<RestState>,
    _: Operator,
    UrlQuery(PageQuery { limit, cursor }): UrlQuery<PageQuery>,
) -> Result<Response, Problem> {
    state.registry.run_long_read(|| Ok(json(StatusCode::OK, &state.registry.services(&page(limit, cursor)?)?))).await
}

/// Shows the whole active configuration of an instance
///
/// In the form in which `putInstance` takes it, whoever holds the instance. Options without effect are left out.
#[utoipa::path(get, path = "/v1/services/{service}/instances/{instance}", operation_id = "getWholeConfig",
    tag = "operators", security(("operator" = [])), params(InstancePath),
    responses(
        (status = 200, description = "The configuration.", body = InstanceConfig, headers(("ETag" = ETag, description = "The revision."))),
        (status = 404, description = "There is no such instance."),
        (status = 429, description = "Too many large answers of this instance are under way."),
    ))]
async fn get(
    State(state): State<RestState>,
    _: Operator,
    Segments(InstancePath { service, instance }): Segments<InstancePath>,
) -> Result<Response, Problem> {
    let subject = Subject::Instance(service.clone(), instance.clone());
    let shown = large(&state, &subject, || {
        let (revision, config) = state.registry.whole_config(&service, &instance)?;
        Ok(([(ETAG, etag(revision))], json(StatusCode::OK, &config)).into_response())
    });
    shown.await
}

/// Puts an instance of the operators
///
/// Creates the instance, or makes this its configuration in one step: a route that stays keeps its id, statistics and
/// breaker. The instance needs no client and never expires. An instance that a client or a configuration file holds is
/// refused, and the problem says who holds it.
#[utoipa::path(put, path = "/v1/services/{service}/instances/{instance}", operation_id = "putInstance",
    tag = "operators", security(("operator" = [])), request_body = InstanceConfig,
    params(InstancePath, PutQuery,
        ("If-Match" = Option<IfMatchTag>, Header, description = "The `ETag` of the revision that the caller has read; a list of revisions, of which one must be the instance's; or `*` for an instance that exists."),
        ("If-None-Match" = Option<String>, Header, description = "`*` for an instance that does not exist yet.")),
    responses(
        (status = 200, description = "The instance has this configuration, or with `dry_run` would have it.", body = InstancePut, headers(("ETag" = ETag, description = "The revision."))),
        (status = 201, description = "The instance is created.", body = InstancePut, headers(("ETag" = ETag, description = "The revision."))),
        (status = 409, description = "Another one holds the instance, or a place of its routes."),
        (status = 412, description = "The instance has another revision, or exists already, or does not exist."),
        (status = 429, description = "The configuration has too many routes or settings, or there are too many sessions."),
    ))]
async fn put(
    State(state): State<RestState>,
    Operator(origin): Operator,
    Segments(InstancePath { service, instance }): Segments<InstancePath>,
    UrlQuery(PutQuery { dry_run }): UrlQuery<PutQuery>,
    Conditions(precondition): Conditions,
    Body(config): Body<InstanceConfig>,
) -> Result<Response, Problem> {
    let command = PutInstance { service, instance, config: Arc::new(config), precondition, dry_run };
    let put = state.registry.call(origin, command).await?;
    let status = if put.created && !put.dry_run { StatusCode::CREATED } else { StatusCode::OK };
    Ok(([(ETAG, etag(put.revision))], json(status, &put)).into_response())
}

/// Removes an instance of the operators
///
/// Its routes are gone at once; requests in flight finish.
#[utoipa::path(delete, path = "/v1/services/{service}/instances/{instance}", operation_id = "removeInstance",
    tag = "operators", security(("operator" = [])),
    params(InstancePath, ("If-Match" = Option<IfMatchTag>, Header, description = "The `ETag` of the revision that the caller has read, a list of revisions, or `*`.", example = "*")),
    responses(
        (status = 204, description = "The instance is removed."),
        (status = 404, description = "There is no such instance."),
        (status = 409, description = "Another one holds the instance."),
        (status = 412, description = "The instance has another revision."),
    ))]
async fn remove(
    State(state): State<RestState>,
    Operator(origin): Operator,
    Segments(InstancePath { service, instance }): Segments<InstancePath>,
    Conditions(precondition): Conditions,
) -> Result<StatusCode, Problem> {
    state.registry.call(origin, RemoveInstance { service, instance, precondition }).await?;
    Ok(StatusCode::NO_CONTENT)
}
