//! Calls that stage routes, and the one that lists them.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ArrayBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoParams, PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::domain::{BackendUrl, PathPrefix, RouteId};
use crate::json::numbers::Priority;
use crate::json::values::{Domains, present};
use crate::registry::calls::RouteList;
use crate::registry::commands::{self, RouteAdd, RouteAddBulk, RouteField, RouteRemove, RouteUpdate};
use crate::registry::queries::session::{AddedRouteView, RouteView};

use super::caller::{Caller, json};
use super::extract::{Bodies, Body, Segments};
use super::problem::Problem;
use super::state::RestState;

/// Returns the calls of this group with their descriptions.
pub(super) fn calls() -> OpenApiRouter<RestState> {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(add_bulk)).routes(routes!(update, remove))
}

/// A route to stage.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({
    "domains": ["shop.example"],
    "path": "/",
    "backend_url": "http://127.0.0.1:3000",
    "priority": 0,
}))]
pub(super) struct NewRoute {
    /// The host names of the requests that go to the backend.
    pub(super) domains: Domains,
    /// The path of these requests, with all paths below it.
    pub(super) path: PathPrefix,
    /// The backend that requests go to.
    pub(super) backend_url: BackendUrl,
    /// The priority. Within a host, the highest is matched first.
    #[serde(default)]
    pub(super) priority: Priority,
}

impl From<NewRoute> for commands::NewRoute {
    fn from(new: NewRoute) -> Self {
        Self { domains: new.domains.0, path: new.path, backend: new.backend_url, priority: new.priority.0 }
    }
}

/// Routes to stage together, at least one.
#[derive(Debug)]
pub(super) struct NewRoutes;

impl PartialSchema for NewRoutes {
    fn schema() -> RefOr<Schema> {
        let example = serde_json::json!([
            { "domains": ["shop.example"], "path": "/cart", "backend_url": "http://127.0.0.1:3002", "priority": 0 },
            { "domains": ["shop.example"], "path": "/account", "backend_url": "http://127.0.0.1:3003", "priority": 0 },
        ]);
        let routes = ArrayBuilder::new().items(Ref::from_schema_name(NewRoute::name())).min_items(Some(1));
        routes.examples([example]).into()
    }
}

impl ToSchema for NewRoutes {
    fn name() -> Cow<'static, str> {
        "NewRoutes".into()
    }
}

/// The changed fields of a route. Fields that are left out stay unchanged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(min_properties = 1, example = json!({ "backend_url": "http://127.0.0.1:3001" }))]
pub(super) struct RouteChange {
    /// The backend that its requests go to.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub(super) backend_url: Option<BackendUrl>,
    /// Its priority.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub(super) priority: Option<Priority>,
    /// Its domains.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub(super) domains: Option<Domains>,
    /// Its path.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub(super) path: Option<PathPrefix>,
}

impl RouteChange {
    /// Returns the fields that change.
    fn fields(self) -> Vec<RouteField> {
        let backend = self.backend_url.map(RouteField::Backend);
        let priority = self.priority.map(|priority| RouteField::Priority(priority.0));
        let domains = self.domains.map(|domains| RouteField::Domains(domains.0));
        let path = self.path.map(RouteField::Path);
        [backend, priority, domains, path].into_iter().flatten().collect()
    }
}

/// A route, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct RoutePath {
    /// The route.
    pub(super) route_id: RouteId,
}

/// A route that was staged.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RouteAdded {
    /// Its id.
    pub(super) route_id: RouteId,
}

/// Lists the session's routes
///
/// Active and staged routes. An active route with a staged change is listed twice: as it is and as it will be.
#[utoipa::path(get, path = "/v1/session/routes", operation_id = "listRoutes", tag = "routes", security(("session" = [])),
    responses((status = 200, description = "The routes.", body = Vec<RouteView>)))]
async fn list(caller: Caller) -> Result<Response, Problem> {
    caller.answer_long_read(RouteList(caller.session.clone())).await
}

/// Stages a new route
#[utoipa::path(post, path = "/v1/session/routes", operation_id = "addRoute", tag = "routes", security(("session" = [])),
    request_body = NewRoute,
    responses(
        (status = 201, description = "The change is staged.", body = RouteAdded),
        (status = 403, description = "The registration token does not allow this."),
        (status = 429, description = "The session has too many routes."),
    ))]
async fn add(caller: Caller, Body(route): Body<NewRoute>) -> Result<Response, Problem> {
    let id = caller.run(RouteAdd { session: caller.session.clone(), route: route.into() }).await?;
    Ok(json(StatusCode::CREATED, &RouteAdded { route_id: id }))
}

/// Stages new routes, all or none
#[utoipa::path(post, path = "/v1/session/routes/bulk", operation_id = "addRoutes", tag = "routes",
    security(("session" = [])), request_body = NewRoutes,
    responses(
        (status = 201, description = "The routes are staged. The entries have the order of the request.", body = Vec<AddedRouteView>),
        (status = 403, description = "The registration token does not allow this."),
        (status = 429, description = "The session has too many routes."),
    ))]
async fn add_bulk(caller: Caller, Bodies(routes): Bodies<NewRoute>) -> Result<Response, Problem> {
    let routes = routes.into_iter().map(Into::into).collect();
    let ids = caller.run(RouteAddBulk { session: caller.session.clone(), routes }).await?;
    Ok(json(StatusCode::CREATED, &ids.into_iter().map(AddedRouteView::from).collect::<Vec<_>>()))
}

/// Stages changes of a route, all or none
#[utoipa::path(patch, path = "/v1/session/routes/{route_id}", operation_id = "updateRoute", tag = "routes",
    security(("session" = [])), params(RoutePath), request_body = RouteChange,
    responses(
        (status = 204, description = "The change is staged."),
        (status = 403, description = "The registration token does not allow this."),
        (status = 404, description = "There is no such route in this session."),
        (status = 409, description = "The route is staged for removal."),
    ))]
async fn update(
    caller: Caller,
    Segments(RoutePath { route_id }): Segments<RoutePath>,
    Body(change): Body<RouteChange>,
) -> Result<StatusCode, Problem> {
    let fields = change.fields();
    if fields.is_empty() {
        return Err(Problem::invalid("nothing to change; name backend_url, priority, domains or path"));
    }
    let field = RouteField::Several(fields);
    caller.done(RouteUpdate { session: caller.session.clone(), id: route_id, field }).await
}

/// Stages the removal of a route and its settings
///
/// A route that is only staged is dropped.
#[utoipa::path(delete, path = "/v1/session/routes/{route_id}", operation_id = "removeRoute", tag = "routes",
    security(("session" = [])), params(RoutePath),
    responses(
        (status = 204, description = "The removal is staged."),
        (status = 404, description = "There is no such route in this session."),
        (status = 409, description = "The removal is staged already."),
    ))]
async fn remove(caller: Caller, Segments(RoutePath { route_id }): Segments<RoutePath>) -> Result<StatusCode, Problem> {
    caller.done(RouteRemove { session: caller.session.clone(), id: route_id }).await
}
