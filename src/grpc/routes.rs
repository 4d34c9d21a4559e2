//! Calls that stage routes, and the one that lists them.

use tonic::Status;

use crate::domain::{BackendUrl, Error, Host, Kind, PathPrefix};
use crate::registry::commands::{NewRoute, RouteAdd, RouteAddBulk, RouteField, RouteRemove, RouteUpdate};

use crate::registry::calls::RouteList;

use super::convert::{new_route, required, session};
use super::proto::{
    AddRouteRequest, AddRouteResponse, AddRoutesRequest, AddRoutesResponse, ListRoutesRequest, ListRoutesResponse,
    RemoveRouteRequest, RemoveRouteResponse, UpdateRouteRequest, UpdateRouteResponse,
};
use super::state::CallState;
use super::status::of_entry;

pub(super) async fn add_route(state: &CallState, request: AddRouteRequest) -> Result<AddRouteResponse, Status> {
    let session = session(&request.session_id)?;
    let route = new_route(&required("route", request.route)?)?;
    let id = state.call(RouteAdd { session, route }).await?;
    Ok(AddRouteResponse { route_id: id.to_string() })
}

pub(super) async fn add_routes(state: &CallState, request: AddRoutesRequest) -> Result<AddRoutesResponse, Status> {
    let session = session(&request.session_id)?;
    if request.routes.is_empty() {
        return Err(Error::invalid("routes", "at least one is needed").into());
    }
    let entries = request.routes.iter().enumerate();
    let routes: Vec<NewRoute> = entries
        .map(|(index, route)| new_route(route).map_err(|error| of_entry("routes", index, &error)))
        .collect::<Result<_, Status>>()?;
    let ids = state.call(RouteAddBulk { session, routes }).await?;
    Ok(AddRoutesResponse { route_ids: ids.iter().map(ToString::to_string).collect() })
}

pub(super) async fn update_route(
    state: &CallState,
    request: UpdateRouteRequest,
) -> Result<UpdateRouteResponse, Status> {
    let session = session(&request.session_id)?;
    let id = request.route_id.parse()?;
    let field = RouteField::Several(changed_fields(request)?);
    state.call(RouteUpdate { session, id, field }).await?;
    Ok(UpdateRouteResponse {})
}

fn changed_fields(request: UpdateRouteRequest) -> Result<Vec<RouteField>, Error> {
    let mut fields = Vec::new();
    if let Some(backend) = request.backend_url {
        fields.push(RouteField::Backend(BackendUrl::parse(&backend)?));
    }
    if let Some(priority) = request.priority {
        fields.push(RouteField::Priority(priority));
    }
    if !request.domains.is_empty() {
        fields.push(RouteField::Domains(Host::gather(request.domains.iter().map(String::as_str))?));
    }
    if let Some(path) = request.path {
        fields.push(RouteField::Path(PathPrefix::parse(&path)?));
    }
    if fields.is_empty() {
        return Err(Error::new(Kind::Invalid, "nothing is to change; give backend_url, priority, domains or path"));
    }
    Ok(fields)
}

pub(super) async fn remove_route(
    state: &CallState,
    request: RemoveRouteRequest,
) -> Result<RemoveRouteResponse, Status> {
    let session = session(&request.session_id)?;
    state.call(RouteRemove { session, id: request.route_id.parse()? }).await?;
    Ok(RemoveRouteResponse {})
}

pub(super) async fn list_routes(state: &CallState, request: ListRoutesRequest) -> Result<ListRoutesResponse, Status> {
    state
        .ask(RouteList(session(&request.session_id)?), |views| ListRoutesResponse {
            routes: views.into_iter().map(Into::into).collect(),
        })
        .await
}
