//! Requests and responses about routes.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::openapi::schema::{ArrayBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::registry;
use crate::registry::commands::RouteField;

use super::numbers::Priority;
use super::values::present;
use super::values::{Backend, Domains, Path, Route};

/// A route to stage.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "a JSON object")]
#[schema(example = json!({
    "domains": ["shop.example"],
    "path": "/",
    "backend_url": "http://10.0.0.7:3000",
    "priority": 0,
}))]
pub struct NewRoute {
    /// The host names of the requests that go to the backend.
    pub domains: Domains,
    /// The path of these requests, with all paths below it.
    pub path: Path,
    /// The backend that requests go to.
    pub backend_url: Backend,
    /// The priority. Within a host, the highest is matched first.
    #[serde(default)]
    pub priority: Priority,
}

impl From<NewRoute> for registry::commands::NewRoute {
    fn from(new: NewRoute) -> Self {
        Self { domains: new.domains.0, path: new.path.0, backend: new.backend_url.0, priority: new.priority.0 }
    }
}

/// Routes to stage together, at least one.
#[derive(Debug)]
pub struct NewRoutes;

impl PartialSchema for NewRoutes {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new().items(Ref::from_schema_name(NewRoute::name())).min_items(Some(1)).into()
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
#[schema(min_properties = 1, example = json!({ "backend_url": "http://10.0.0.8:3000" }))]
pub struct RouteChange {
    /// The backend that its requests go to.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub backend_url: Option<Backend>,
    /// Its priority.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub priority: Option<Priority>,
    /// Its domains.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub domains: Option<Domains>,
    /// Its path.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    pub path: Option<Path>,
}

impl RouteChange {
    /// Returns the fields that change.
    pub(in crate::rest) fn fields(self) -> Vec<RouteField> {
        let backend = self.backend_url.map(|backend| RouteField::Backend(backend.0));
        let priority = self.priority.map(|priority| RouteField::Priority(priority.0));
        let domains = self.domains.map(|domains| RouteField::Domains(domains.0));
        let path = self.path.map(|path| RouteField::Path(path.0));
        [backend, priority, domains, path].into_iter().flatten().collect()
    }
}

/// A route, in a path.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub struct RoutePath {
    /// The route.
    pub route_id: Route,
}

/// A route that was staged.
#[derive(Debug, Serialize, ToSchema)]
pub struct RouteAdded {
    /// Its id.
    #[schema(value_type = Route)]
    pub route_id: String,
}

/// One of several routes that were staged together.
#[derive(Debug, Serialize, ToSchema)]
pub struct RouteOfMany {
    /// Its id. The entries have the order of the request.
    #[schema(value_type = Route)]
    pub route_id: String,
    /// The result. All routes are staged, or none.
    pub status: Staged,
}

/// The result for a route.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Staged {
    /// The route is staged.
    Ok,
}

/// A route, active or staged. An active route with a staged change is listed twice: as it is and as it will be.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct RouteEntry {
    pub route_id: Route,
    /// The same as `route_id`.
    pub id: Route,
    pub domains: Domains,
    pub path: Path,
    pub backend: Backend,
    pub priority: Priority,
    pub status: RouteStatus,
}

/// The state of a route between staged and active.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteStatus {
    /// The route serves traffic.
    Active,
    /// The route serves traffic after the next apply.
    Staged,
    /// The route serves traffic until the next apply.
    PendingRemoval,
}
