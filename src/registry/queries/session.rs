//! Views of a session: its state and its routes.

use crate::domain::{Route, Section, Session, Span, Time};

use super::views::{RouteStatus, RouteView, SessionView};

/// Answers `SESSION_INFO`.
pub(crate) fn info(session: &Session, now: Time) -> SessionView {
    let metadata = serde_json::value::RawValue::from_string(session.record.metadata.as_str().to_owned());
    SessionView {
        session_id: session.record.id.reveal().to_owned(),
        service_name: session.record.service.to_string(),
        instance_name: session.record.instance.to_string(),
        maintenance_port: session.record.maintenance_port,
        connected_at: session.record.connected_at,
        uptime_seconds: seconds(now.since(session.record.connected_at)),
        last_activity: session.last_activity.last(),
        routes_active: session.active.routes.len(),
        routes_staged: staged_routes(session),
        last_apply: session.record.last_apply,
        revision: session.record.revision,
        // The metadata was checked as JSON when it came in.
        metadata: metadata.unwrap_or_default(),
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
        domains: route.domains.iter().map(ToString::to_string).collect(),
        path: route.path.to_string(),
        backend: route.backend.to_string(),
        priority: route.priority,
        status,
    }
}

/// Returns a session's share of traffic in percent.
pub(crate) fn traffic_percent(session: &Session, now: Time) -> u64 {
    session.record.drain.map_or(100, |drain| drain.traffic_percent(now))
}
