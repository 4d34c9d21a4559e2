//! Calls that stage routes, and the one that lists them.

use axum::http::StatusCode;
use axum::response::Response;

use crate::domain::RouteId;
use crate::registry::commands::{RouteAdd, RouteAddBulk, RouteField, RouteRemove, RouteUpdate};
use crate::registry::replies::RouteList;

use super::caller::{Caller, json};
use super::dto::routes::{NewRoute, NewRoutes, RouteAdded, RouteChange, RouteEntry, RouteOfMany, RoutePath, Staged};
use super::extract::{Bodies, Body, Segments};
use super::problem::Problem;

/// Lists the session's routes
///
/// Active and staged routes. An active route with a staged change is listed twice: as it is and as it will be.
#[utoipa::path(get, path = "/v1/session/routes", operation_id = "listRoutes", tag = "routes", security(("session" = [])),
    responses((status = 200, description = "The routes.", body = Vec<RouteEntry>)))]
pub(super) async fn list(caller: Caller) -> Result<Response, Problem> {
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
pub(super) async fn add(caller: Caller, Body(route): Body<NewRoute>) -> Result<Response, Problem> {
    let id = caller.run(RouteAdd { session: caller.session.clone(), route: route.into() }).await?;
    Ok(json(StatusCode::CREATED, &RouteAdded { route_id: id.to_string() }))
}

/// Stages new routes, all or none
#[utoipa::path(post, path = "/v1/session/routes/bulk", operation_id = "addRoutes", tag = "routes",
    security(("session" = [])), request_body = NewRoutes,
    responses(
        (status = 201, description = "The routes are staged. The entries have the order of the request.", body = Vec<RouteOfMany>),
        (status = 403, description = "The registration token does not allow this."),
        (status = 429, description = "The session has too many routes."),
    ))]
pub(super) async fn add_bulk(caller: Caller, Bodies(routes): Bodies<NewRoute>) -> Result<Response, Problem> {
    let routes = routes.into_iter().map(Into::into).collect();
    let ids = caller.run(RouteAddBulk { session: caller.session.clone(), routes }).await?;
    Ok(json(StatusCode::CREATED, &ids.into_iter().map(one_of_many).collect::<Vec<_>>()))
}

fn one_of_many(id: RouteId) -> RouteOfMany {
    RouteOfMany { route_id: id.to_string(), status: Staged::Ok }
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
pub(super) async fn update(
    caller: Caller,
    Segments(RoutePath { route_id }): Segments<RoutePath>,
    Body(change): Body<RouteChange>,
) -> Result<StatusCode, Problem> {
    let fields = change.fields();
    if fields.is_empty() {
        return Err(Problem::invalid("nothing to change; name backend_url, priority, domains or path"));
    }
    let field = RouteField::Several(fields);
    caller.done(RouteUpdate { session: caller.session.clone(), id: route_id.0, field }).await
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
pub(super) async fn remove(
    caller: Caller,
    Segments(RoutePath { route_id }): Segments<RoutePath>,
) -> Result<StatusCode, Problem> {
    caller.done(RouteRemove { session: caller.session.clone(), id: route_id.0 }).await
}
