//! Operators' queries: instances, routes, statistics, and the explanation of a request.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::registry::queries::explain::Explain;

use super::caller::json;
use super::dto::operator::{
    ExplainQuery, Explanation, InstanceDetail, InstancePath, InstanceRef, InstancesPage, Overview, PageQuery,
    RoutesPage, RoutesQuery, StatsPage, page,
};
use super::dto::server::CertificateList;
use super::extract::{Segments, UrlQuery};
use super::operator::Operator;
use super::problem::Problem;
use super::state::RestState;

/// Shows the totals of the server
#[utoipa::path(get, path = "/v1/overview", operation_id = "getOverview", tag = "operators", security(("operator" = [])),
    responses((status = 200, description = "The totals.", body = Overview)))]
pub(super) async fn get(State(state): State<RestState>, _: Operator) -> Response {
    state.registry.run_long_read(|| json(StatusCode::OK, &state.registry.overview())).await
}

/// Lists the certificates
///
/// Those of the proxy, the pipe and the API port, from files and by ACME, with their state and the last error of a
/// renewal.
#[utoipa::path(get, path = "/v1/certificates", operation_id = "listCertificates", tag = "operators",
    security(("operator" = [])),
    responses((status = 200, description = "All certificates.", body = CertificateList)))]
pub(super) async fn list_certificates(State(state): State<RestState>, _: Operator) -> Response {
    json(StatusCode::OK, &state.registry.certificates())
}

/// Lists the instances, sorted by service and name
#[utoipa::path(get, path = "/v1/instances", operation_id = "listInstances", tag = "operators",
    security(("operator" = [])), params(PageQuery),
    responses((status = 200, description = "A page of the list.", body = InstancesPage)))]
pub(super) async fn list_instances(
    State(state): State<RestState>,
    _: Operator,
    UrlQuery(PageQuery { limit, cursor }): UrlQuery<PageQuery>,
) -> Result<Response, Problem> {
    state.registry.run_long_read(|| Ok(json(StatusCode::OK, &state.registry.instances(&page(limit, cursor)?)?))).await
}

/// Shows one instance
#[utoipa::path(get, path = "/v1/instances/{service}/{instance}", operation_id = "getInstance", tag = "operators",
    security(("operator" = [])), params(InstancePath),
    responses(
        (status = 200, description = "The instance.", body = InstanceDetail),
        (status = 404, description = "There is no such instance."),
    ))]
pub(super) async fn get_instance(
    State(state): State<RestState>,
    _: Operator,
    Segments(InstancePath { service, instance }): Segments<InstancePath>,
) -> Result<Response, Problem> {
    state.registry.run_long_read(|| Ok(json(StatusCode::OK, &state.registry.instance(&service.0, &instance.0)?))).await
}

/// Lists the active routes
#[utoipa::path(get, path = "/v1/routes", operation_id = "listAllRoutes", tag = "operators",
    security(("operator" = [])), params(RoutesQuery),
    responses(
        (status = 200, description = "A page of the list.", body = RoutesPage),
        (status = 404, description = "There is no such instance."),
    ))]
pub(super) async fn list_routes(
    State(state): State<RestState>,
    _: Operator,
    UrlQuery(RoutesQuery { limit, cursor, instance }): UrlQuery<RoutesQuery>,
) -> Result<Response, Problem> {
    let of = instance.as_ref().map(|InstanceRef(service, instance)| (service, instance));
    state
        .registry
        .run_long_read(|| Ok(json(StatusCode::OK, &state.registry.all_routes(&page(limit, cursor)?, of)?)))
        .await
}

/// Lists the statistics of the active routes
#[utoipa::path(get, path = "/v1/stats", operation_id = "listAllStats", tag = "operators",
    security(("operator" = [])), params(RoutesQuery),
    responses(
        (status = 200, description = "A page of the list.", body = StatsPage),
        (status = 404, description = "There is no such instance."),
    ))]
pub(super) async fn list_stats(
    State(state): State<RestState>,
    _: Operator,
    UrlQuery(RoutesQuery { limit, cursor, instance }): UrlQuery<RoutesQuery>,
) -> Result<Response, Problem> {
    let of = instance.as_ref().map(|InstanceRef(service, instance)| (service, instance));
    state
        .registry
        .run_long_read(|| Ok(json(StatusCode::OK, &state.registry.all_stats(&page(limit, cursor)?, of)?)))
        .await
}

/// Explains to which backend a request would go
///
/// Lists the matching routes, names the one that wins and its rule, and shows its members.
#[utoipa::path(get, path = "/v1/explain", operation_id = "explain", tag = "operators", security(("operator" = [])),
    params(ExplainQuery),
    responses(
        (status = 200, description = "The explanation.", body = Explanation),
        (status = 404, description = "There is no such instance."),
    ))]
pub(super) async fn explain(
    State(state): State<RestState>,
    _: Operator,
    UrlQuery(asked): UrlQuery<ExplainQuery>,
) -> Result<Response, Problem> {
    let question = Explain {
        host: asked.host.0,
        path: asked.path.0,
        method: asked.method.map(|method| method.0),
        staged: asked.staged.map(|InstanceRef(service, instance)| (service, instance)),
    };
    state.registry.run_long_read(|| Ok(json(StatusCode::OK, &state.registry.explain(&question)?))).await
}
