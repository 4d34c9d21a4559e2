//! Operators' queries: instances, routes, statistics, and the explanation of a request.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{Error, ServiceName};
use crate::json::numbers::Digits;
use crate::json::values::present;
use crate::registry::CertificatesView;
use crate::registry::queries::explain::{Explain, ExplainView};
use crate::registry::queries::operator_views::{InstanceDetail, InstancesPage, OverviewView, RoutesPage, StatsPage};
use crate::registry::queries::paging::ListRequest;
use crate::registry::queries::route_filter::RouteFilter;

use super::caller::json;
use super::extract::{Segments, UrlQuery};
use super::operator::{InstancePath, Operator};
use super::problem::Problem;
use super::state::RestState;
use super::values::{InstanceRef, Method, RequestHost, RequestPath};

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new()
        .routes(routes!(get))
        .routes(routes!(list_certificates))
        .routes(routes!(list_instances))
        .routes(routes!(get_instance))
        .routes(routes!(list_routes))
        .routes(routes!(list_stats))
        .routes(routes!(explain))
}

/// A request to explain.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ExplainQuery {
    /// Its host.
    pub(super) host: RequestHost,
    /// Its path.
    pub(super) path: RequestPath,
    /// Its method.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) method: Option<Method>,
    /// Explains as if this instance had applied its staged configuration.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) staged: Option<InstanceRef>,
}

/// The parameters of a list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The maximum number of entries.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100, value_type = Option<u16>)]
    pub(super) limit: Option<Digits>,
    /// The `next_cursor` of the page before; empty or left out for the first page.
    #[serde(default)]
    #[param(nullable = false)]
    pub(super) cursor: Option<String>,
}

/// The parameters of a list of statistics.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RoutesQuery {
    /// The maximum number of entries.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100, value_type = Option<u16>)]
    pub(super) limit: Option<Digits>,
    /// The `next_cursor` of the page before; empty or left out for the first page.
    #[serde(default)]
    #[param(nullable = false)]
    pub(super) cursor: Option<String>,
    /// The instance whose routes are listed. All instances if left out.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) instance: Option<InstanceRef>,
}

/// The parameters of the list of routes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AllRoutesQuery {
    /// The maximum number of entries.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false, minimum = 1, maximum = 1000, default = 100, value_type = Option<u16>)]
    pub(super) limit: Option<Digits>,
    /// The `next_cursor` of the page before; empty or left out for the first page.
    #[serde(default)]
    #[param(nullable = false)]
    pub(super) cursor: Option<String>,
    /// The instance whose routes are listed. All instances if left out.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) instance: Option<InstanceRef>,
    /// Only routes of this service.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) service: Option<ServiceName>,
    /// Only routes that serve this host.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) domain: Option<String>,
    /// Only routes that contain this text: in a name, a domain, the path, the backend, or the id.
    #[serde(default, deserialize_with = "present")]
    #[param(nullable = false)]
    pub(super) text: Option<String>,
    /// Only routes with an unhealthy backend, or a breaker that is not closed.
    #[serde(default)]
    #[param(required = false)]
    pub(super) unhealthy: bool,
}

/// Returns the requested page of a list.
pub(super) fn page(limit: Option<Digits>, cursor: Option<String>) -> Result<ListRequest, Error> {
    ListRequest::new(cursor.filter(|cursor| !cursor.is_empty()), limit.map(|limit| limit.0))
}

/// Shows the totals of the server
#[utoipa::path(get, path = "/v1/overview", operation_id = "getOverview", tag = "operators", security(("operator" = [])),
    responses((status = 200, description = "The totals.", body = OverviewView)))]
async fn get(State(state): State<RestState>, _: Operator) -> Response {
    state.registry.run_long_read(|| json(StatusCode::OK, &state.registry.overview())).await
}

/// Lists the certificates
///
/// Those of the proxy, the pipe and the API port, from files and by ACME, with their state and the last error of a
/// renewal.
#[utoipa::path(get, path = "/v1/certificates", operation_id = "listCertificates", tag = "operators",
    security(("operator" = [])),
    responses((status = 200, description = "All certificates.", body = CertificatesView)))]
async fn list_certificates(State(state): State<RestState>, _: Operator) -> Response {
    json(StatusCode::OK, &state.registry.certificates())
}

/// Lists the instances, sorted by service and name
#[utoipa::path(get, path = "/v1/instances", operation_id = "listInstances", tag = "operators",
    security(("operator" = [])), params(PageQuery),
    responses((status = 200, description = "A page of the list.", body = InstancesPage)))]
async fn list_instances(
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
async fn get_instance(
    State(state): State<RestState>,
    _: Operator,
    Segments(InstancePath { service, instance }): Segments<InstancePath>,
) -> Result<Response, Problem> {
    state.registry.run_long_read(|| Ok(json(StatusCode::OK, &state.registry.instance(&service, &instance)?))).await
}

/// Lists the active routes
#[utoipa::path(get, path = "/v1/routes", operation_id = "listAllRoutes", tag = "operators",
    security(("operator" = [])), params(AllRoutesQuery),
    responses(
        (status = 200, description = "A page of the list.", body = RoutesPage),
        (status = 404, description = "There is no such instance."),
    ))]
async fn list_routes(
    State(state): State<RestState>,
    _: Operator,
    UrlQuery(asked): UrlQuery<AllRoutesQuery>,
) -> Result<Response, Problem> {
    let wanted = RouteFilter {
        instance: asked.instance.as_ref().map(|InstanceRef(service, instance)| (service, instance)),
        service: asked.service.as_ref(),
        domain: asked.domain.as_deref(),
        text: asked.text.as_deref(),
        unhealthy: asked.unhealthy,
    };
    let page = page(asked.limit, asked.cursor)?;
    state.registry.run_long_read(|| Ok(json(StatusCode::OK, &state.registry.all_routes(&page, &wanted)?))).await
}

/// Lists the statistics of the active routes
#[utoipa::path(get, path = "/v1/stats", operation_id = "listAllStats", tag = "operators",
    security(("operator" = [])), params(RoutesQuery),
    responses(
        (status = 200, description = "A page of the list.", body = StatsPage),
        (status = 404, description = "There is no such instance."),
    ))]
async fn list_stats(
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
        (status = 200, description = "The explanation.", body = ExplainView),
        (status = 404, description = "There is no such instance."),
    ))]
async fn explain(
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
