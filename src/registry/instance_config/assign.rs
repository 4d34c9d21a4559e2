//! Gives the routes of a whole configuration their ids, so that a route that stays keeps its id.
//!
//! A route is known by its name; if that is new or missing, by its domains, path and priority, and then by a domain and
//! path that it shares. Invariant: no id that an instance has given to a route is given to another one.

use std::collections::{HashMap, HashSet};

use crate::domain::{Config, Error, Host, Kind, PathPrefix, Route, RouteId, RouteName};

use super::RouteConfig;

/// The largest id that a name may be. Further ids stay free for later routes.
const ID_MAX: u32 = 999_999_999;

/// The ids of routes, in their order, and the number of the next route after them.
pub(super) struct AssignedIds {
    pub(super) ids: Vec<RouteId>,
    pub(super) next: u32,
}

/// Returns the ids of `routes` for an instance with the configuration `active`, whose next route has the number `next`.
pub(super) fn assign(routes: &[RouteConfig], active: &Config, next: u32) -> Result<AssignedIds, Error> {
    let mut ids = by_name(routes, active, next)?;
    by_place(routes, active, &mut ids);
    let highest = ids.iter().flatten().map(|id| id.0 + 1).max().unwrap_or(1);
    let mut next = next.max(highest);
    let mut fresh = || {
        let id = RouteId(next);
        next = next
            .checked_add(1)
            .ok_or_else(|| Error::new(Kind::Limited, "this session has used up its route ids; register anew"))?;
        Ok(id)
    };
    let ids = ids.into_iter().map(|id| id.map_or_else(&mut fresh, Ok)).collect::<Result<_, Error>>()?;
    Ok(AssignedIds { ids, next })
}

/// Returns the name if it is one, and not an id in place of a name.
pub(super) fn own_name(name: &RouteName) -> Option<&RouteName> {
    name.as_str().parse::<RouteId>().is_err().then_some(name)
}

/// Finds the routes whose name, or id in its place, the instance knows.
fn by_name(routes: &[RouteConfig], active: &Config, next: u32) -> Result<Vec<Option<RouteId>>, Error> {
    let named = active.routes.values().filter_map(|route| Some((route.name.as_ref()?, route.id)));
    let known: HashMap<&RouteName, RouteId> = named.collect();
    let mut seen: HashMap<&RouteName, usize> = HashMap::new();
    let mut taken = HashSet::new();
    let mut ids = Vec::with_capacity(routes.len());
    for (at, route) in routes.iter().enumerate() {
        let Some(name) = &route.name else {
            ids.push(None);
            continue;
        };
        let place = format!("routes[{at}]");
        if let Some(first) = seen.insert(name, at) {
            return Err(Error::invalid("name", format!("routes[{first}] has the name {name} already")).inside(&place));
        }
        let id = match name.as_str().parse::<RouteId>() {
            Err(_) => known.get(name).copied(),
            Ok(id) if active.routes.contains_key(&id) => Some(id),
            Ok(id) => Some(new_id(id, next).map_err(|error| error.inside(&place))?),
        };
        if let Some(id) = id.filter(|id| !taken.insert(*id)) {
            return Err(
                Error::invalid("name", format!("is the route {id}, which stands in another entry")).inside(&place)
            );
        }
        ids.push(id);
    }
    Ok(ids)
}

/// Checks the id of a route that does not exist yet.
fn new_id(id: RouteId, next: u32) -> Result<RouteId, Error> {
    if id.0 > ID_MAX {
        return Err(Error::invalid("name", format!("is above r{ID_MAX}; choose a word")));
    }
    if id.0 < next {
        return Err(Error::invalid(
            "name",
            format!("{id} was a route that is gone; leave the name out, or choose a word"),
        ));
    }
    Ok(id)
}

/// Finds the routes that have the domains and path of a route that no entry has taken yet.
fn by_place(routes: &[RouteConfig], active: &Config, ids: &mut [Option<RouteId>]) {
    let mut taken: HashSet<RouteId> = ids.iter().flatten().copied().collect();
    if ids.iter().all(Option::is_some) || taken.len() == active.routes.len() {
        return;
    }
    let free = || active.routes.values().filter(|route| !taken.contains(&route.id));
    let whole: HashMap<_, RouteId> = free().map(|route| (whole_place(route), route.id)).collect();
    let mut shared: HashMap<(&Host, &PathPrefix), Vec<RouteId>> = HashMap::new();
    for route in free() {
        for host in &route.domains {
            shared.entry((host, &route.path)).or_default().push(route.id);
        }
    }
    let only = match (routes.len(), active.routes.values().next()) {
        (1, Some(route)) if active.routes.len() == 1 => Some(route.id),
        _ => None,
    };
    for (route, id) in routes.iter().zip(&mut *ids).filter(|(_, id)| id.is_none()) {
        let same = whole.get(&(&route.domains.0[..], &route.path, route.priority.0)).copied();
        *id = same.filter(|id| taken.insert(*id));
    }
    for (route, id) in routes.iter().zip(ids).filter(|(_, id)| id.is_none()) {
        let places = route.domains.0.iter().filter_map(|host| shared.get(&(host, &route.path)));
        *id = places.flatten().copied().chain(only).find(|id| taken.insert(*id));
    }
}

fn whole_place(route: &Route) -> (&[Host], &PathPrefix, i32) {
    (&route.domains, &route.path, route.priority)
}
