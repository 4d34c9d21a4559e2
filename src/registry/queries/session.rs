//! Views of a session: its state and its routes.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{
    BackendUrl, Host, InstanceName, Lease, Metadata, PathPrefix, Route, RouteId, Section, ServiceName, Session, Span,
    Time,
};
use crate::json::numbers::{Port, Priority};
use crate::json::values::Domains;
use crate::registry::commands::decision::ConfirmationView;
use crate::registry::leases::{ends_at, lease_of};
use crate::registry::limits::RegistryLimits;

/// A session.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Session)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct SessionView {
    /// The caller's bearer token.
    #[schema(min_length = 1)]
    pub session_id: String,
    pub service_name: ServiceName,
    pub instance_name: InstanceName,
    #[schema(value_type = Port)]
    pub maintenance_port: u16,
    #[schema(value_type = String, format = DateTime)]
    pub connected_at: Time,
    pub uptime_seconds: u64,
    #[schema(value_type = String, format = DateTime)]
    pub last_activity: Time,
    #[schema(value_type = u64)]
    pub routes_active: usize,
    /// The number of routes that the next apply adds, changes or removes.
    #[schema(value_type = u64)]
    pub routes_staged: usize,
    /// The time of the last apply; `null` before the first.
    #[schema(value_type = Option<String>, required, format = DateTime)]
    pub last_apply: Option<Time>,
    /// The number of applies that changed something; the `ETag` of the session's configuration.
    pub revision: u64,
    #[schema(value_type = serde_json::Map<String, serde_json::Value>)]
    pub metadata: Metadata,
    /// The time that it lives without a sign of life: a duration, or `permanent`.
    pub lease: Lease,
    /// The time at which it ends without a sign of life; `null` while a connection keeps it alive, and if it is permanent.
    #[schema(value_type = Option<String>, required, format = DateTime)]
    pub expires_at: Option<Time>,
    /// The apply that waits for its confirmation; `null` without one.
    #[schema(required)]
    pub confirmation: Option<ConfirmationView>,
}

/// A route, active or staged. An active route with a staged change is listed twice: as it is and as it will be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = RouteEntry)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct RouteView {
    pub route_id: RouteId,
    /// The same as `route_id`.
    pub id: RouteId,
    #[schema(value_type = Domains)]
    pub domains: Vec<Host>,
    pub path: PathPrefix,
    pub backend: BackendUrl,
    #[schema(value_type = Priority)]
    pub priority: i32,
    pub status: RouteStatus,
}

/// The state of a route between staged and active.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteStatus {
    /// The route is active, with no staged change.
    Active,
    /// The route becomes active with the next apply.
    Staged,
    /// The route is active until the next apply.
    PendingRemoval,
}

/// One of several routes that were staged together.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RouteOfMany)]
pub struct AddedRouteView {
    /// Its id. The entries have the order of the request.
    pub route_id: RouteId,
    /// The result. All routes are staged, or none.
    pub status: AddedStatus,
}

/// The result for a route.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Staged)]
pub enum AddedStatus {
    /// The route is staged.
    Ok,
}

impl From<RouteId> for AddedRouteView {
    fn from(route_id: RouteId) -> Self {
        Self { route_id, status: AddedStatus::Ok }
    }
}

/// Answers `SESSION_INFO`.
pub(crate) fn info(session: &Session, now: Time, limits: &RegistryLimits) -> SessionView {
    SessionView {
        session_id: session.record.id.reveal().to_owned(),
        service_name: session.record.service.clone(),
        instance_name: session.record.instance.clone(),
        maintenance_port: session.record.maintenance_port,
        connected_at: session.record.connected_at,
        uptime_seconds: seconds(now.since(session.record.connected_at)),
        last_activity: session.last_activity.last(),
        routes_active: session.active.routes.len(),
        routes_staged: staged_routes(session),
        last_apply: session.record.last_apply,
        revision: session.record.revision,
        metadata: session.record.metadata.clone(),
        lease: lease_of(session, limits),
        expires_at: ends_at(session, limits),
        confirmation: session.confirmation.as_deref().map(ConfirmationView::of),
    }
}

/// Returns the number of routes that an apply would add, change or remove.
pub(crate) fn staged_routes(session: &Session) -> usize {
    session.difference().edits().filter(|edit| edit.section() == Section::Routes).count()
}

fn seconds(span: Span) -> u64 {
    span.millis() / 1000
}

/// Answers `ROUTE_LIST`: an active route with a staged edit appears twice.
pub(crate) fn route_list(session: &Session) -> Vec<RouteView> {
    let Some(staged) = &session.staged else {
        return session.active.routes.values().map(|route| view(route, RouteStatus::Active)).collect();
    };
    let mut views = Vec::with_capacity(session.active.routes.len());
    for (id, route) in &session.active.routes {
        let next = staged.config.routes.get(id);
        let status = if next.is_none() { RouteStatus::PendingRemoval } else { RouteStatus::Active };
        views.push(view(route, status));
        views.extend(next.filter(|next| *next != route).map(|next| view(next, RouteStatus::Staged)));
    }
    let new = staged.config.routes.iter().filter(|(id, _)| !session.active.routes.contains_key(*id));
    views.extend(new.map(|(_, route)| view(route, RouteStatus::Staged)));
    views
}

fn view(route: &Route, status: RouteStatus) -> RouteView {
    RouteView {
        route_id: route.id,
        id: route.id,
        domains: route.domains.clone(),
        path: route.path.clone(),
        backend: route.backend.clone(),
        priority: route.priority,
        status,
    }
}

/// Returns a session's share of traffic in percent.
pub(crate) fn traffic_percent(session: &Session, now: Time) -> u64 {
    session.record.drain.map_or(100, |drain| drain.traffic_percent(now))
}
