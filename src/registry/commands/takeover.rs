//! The replaced session of an instance: the routes that end with it, and the operators' orders that the next session
//! keeps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::domain::{
    Catalog, Edit, Host, Maintenance, PathPrefix, PendingKind, Route, RouteId, Session, SessionRecord, Target,
};

/// The largest number of routes that a list names.
const NAMED_MAX: usize = 20;
/// The largest number of domains of one route that a list names.
const DOMAINS_MAX: usize = 3;

/// Returns words for each route of the replaced session whose host and path no route of this session takes over, with
/// its staged changes.
pub(crate) fn lost_routes(catalog: &Catalog, session: &Session) -> Vec<String> {
    let Some(before) = catalog.replaced_of(&session.record).and_then(|key| catalog.by_key(key)) else {
        return Vec::new();
    };
    let kept: HashSet<(&Host, &PathPrefix)> =
        session.edited().routes.values().flat_map(|route| places(route)).collect();
    let lost = before.active.routes.values().filter_map(|route| {
        let hosts: Vec<&Host> = places(route).filter(|place| !kept.contains(place)).map(|(host, _)| host).collect();
        (!hosts.is_empty()).then(|| words(route, &hosts))
    });
    let mut lost = lost.collect::<Vec<_>>();
    if let Some(more) = lost.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
        lost.truncate(NAMED_MAX);
        lost.push(format!("routes: {more} more of the session before go with the next apply"));
    }
    lost
}

fn places(route: &Route) -> impl Iterator<Item = (&Host, &PathPrefix)> {
    route.domains.iter().map(|host| (host, &route.path))
}

fn words(route: &Route, hosts: &[&Host]) -> String {
    let mut named = hosts.iter().take(DOMAINS_MAX).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if let Some(more) = hosts.len().checked_sub(DOMAINS_MAX).filter(|more| *more > 0) {
        named = format!("{named} and {more} more");
    }
    let (id, path) = (route.id, &route.path);
    format!(
        "routes: {named} {path} ({id} of the session before) is not among the routes of this one and goes with the next apply"
    )
}

/// Returns the maintenance with which the next session of the instance begins: the operators' orders for all its
/// routes, unless a request to leave maintenance still waits.
pub(crate) fn inherited(before: &Session) -> Maintenance {
    if is_leaving(before, |targets| targets.contains(&Target::All)) {
        return Maintenance::default();
    }
    before.record.maintenance.ordered_for_all()
}

fn is_leaving(session: &Session, meant: impl Fn(&[Target]) -> bool) -> bool {
    session.pending.iter().any(|pending| pending.kind == PendingKind::Exit && meant(&pending.targets))
}

/// Applies the operators' orders for routes of the replaced session to new routes with the same host and path.
pub(crate) fn apply_orders(record: &mut SessionRecord, edits: &[Edit], before: &Session) {
    let maintenance = &before.record.maintenance;
    if maintenance.routes.is_empty() {
        return;
    }
    let concerned = |route: &&Arc<Route>| maintenance.routes.contains_key(&route.id);
    let old: HashMap<(&Host, &PathPrefix), RouteId> = before
        .active
        .routes
        .values()
        .filter(concerned)
        .flat_map(|route| places(route).map(|place| (place, route.id)))
        .collect();
    let leaves = |id: RouteId| {
        is_leaving(before, |targets| [Target::All, Target::Route(id)].iter().any(|it| targets.contains(it)))
    };
    for route in edits.iter().filter_map(Edit::new_route) {
        let same = places(route).find_map(|place| old.get(&place)).filter(|old| !leaves(**old));
        same.into_iter().for_each(|old| record.maintenance.take_over_orders(route.id, maintenance, *old));
    }
}
