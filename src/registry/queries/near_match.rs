//! Finds what a request without a route may have meant: a route that is staged and not applied, other paths of its host, or a host that is
//! spelled almost like it.
//!
//! It decides nothing; its words are for people. Invariant: at most [`SHOWN_MAX`] routes and paths are named, with the number of the others.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::{Catalog, Host, Route, Session, nearest};

/// The most routes, and the most paths, that are named.
const SHOWN_MAX: usize = 3;
const STAGED: &str = "staged, not applied (CONFIG_APPLY)";

/// A route that a session has staged, and that is not active as it is.
type StagedRoute<'a> = (&'a Session, &'a Route);

/// Returns words for the routes that come closest to a request without an active route; empty if none is near.
pub(super) fn near_match(catalog: &Catalog, host: &str, path: &str) -> String {
    let staged: Vec<StagedRoute<'_>> = staged_routes(catalog).collect();
    let matching = matching(&staged, host, path);
    if !matching.is_empty() {
        return matching;
    }
    let paths = active_paths(catalog, host) + &staged_paths(&staged, host);
    if paths.is_empty() { host_meant(catalog, &staged, host, path) } else { paths }
}

fn staged_routes(catalog: &Catalog) -> impl Iterator<Item = StagedRoute<'_>> {
    catalog.sessions().flat_map(|session| {
        let routes = session.staged.iter().flat_map(|staged| staged.config.routes.values());
        let is_news = |route: &&Arc<Route>| session.active.routes.get(&route.id) != Some(*route);
        routes.filter(is_news).map(move |route| (&**session, &**route))
    })
}

fn active_routes(catalog: &Catalog) -> impl Iterator<Item = &Route> {
    catalog.sessions().flat_map(|session| session.active.routes.values()).map(|route| &**route)
}

/// Returns words for the staged routes that would match, the one that would win first.
fn matching(staged: &[StagedRoute<'_>], host: &str, path: &str) -> String {
    let mut ranked: Vec<_> = staged
        .iter()
        .filter(|(_, route)| route.path.covers(path))
        .filter_map(|(session, route)| {
            let rule = route.domains.iter().filter(|rule| rule.covers(host)).map(Host::specificity).max()?;
            Some((Reverse((rule, route.priority, route.path.as_str().len())), *session, *route))
        })
        .collect();
    ranked.sort_by_key(|(rank, ..)| *rank);
    let mut names = ranked.iter().map(|(_, session, route)| name_of(session, route));
    let Some(winner) = names.next() else { return String::new() };
    match listed(names) {
        others if others.is_empty() => format!("; {winner} would match: it is {STAGED}"),
        others => format!("; {winner} would match: it is {STAGED}; so would {others}, which come after it"),
    }
}

/// Returns words for the paths that active routes of the host have.
fn active_paths(catalog: &Catalog, host: &str) -> String {
    let of_host = active_routes(catalog).filter(|route| is_of(route, host));
    let paths: BTreeSet<&str> = of_host.map(|route| route.path.as_str()).collect();
    if paths.is_empty() {
        return String::new();
    }
    let more = if paths.len() > SHOWN_MAX { ", …" } else { "" };
    let shown: Vec<&str> = paths.into_iter().take(SHOWN_MAX).collect();
    format!("; routes of this host have other paths: {}{more}", shown.join(", "))
}

/// Returns words for the staged routes of the host, which have other paths.
fn staged_paths(staged: &[StagedRoute<'_>], host: &str) -> String {
    let of_host = staged.iter().filter(|(_, route)| is_of(route, host));
    match listed(of_host.map(|(session, route)| format!("{} with the path {}", name_of(session, route), route.path))) {
        routes if routes.is_empty() => String::new(),
        routes => format!("; of this host is {STAGED}: {routes}"),
    }
}

/// Returns words for the host that is spelled almost like the one of the request, of a route that has the path.
fn host_meant(catalog: &Catalog, staged: &[StagedRoute<'_>], host: &str, path: &str) -> String {
    if let Some(name) = nearest(host, names_covering(active_routes(catalog), path)) {
        return format!("; did you mean the host {name}?");
    }
    match nearest(host, names_covering(staged.iter().map(|(_, route)| *route), path)) {
        Some(name) => format!("; did you mean the host {name}? It is {STAGED}"),
        None => String::new(),
    }
}

fn names_covering<'a>(routes: impl Iterator<Item = &'a Route>, path: &str) -> impl Iterator<Item = &'a str> {
    routes.filter(|route| route.path.covers(path)).flat_map(|route| &route.domains).filter_map(|rule| match rule {
        Host::Exact(name) => Some(&**name),
        Host::Below(_) | Host::Any => None,
    })
}

fn is_of(route: &Route, host: &str) -> bool {
    route.domains.iter().any(|rule| rule.covers(host))
}

fn name_of(session: &Session, route: &Route) -> String {
    format!("{} of {}/{}", route.id, session.record.service, session.record.instance)
}

/// Returns the first names, with the number of the others; empty without any.
fn listed(mut names: impl Iterator<Item = String>) -> String {
    let shown: Vec<String> = names.by_ref().take(SHOWN_MAX).collect();
    match names.count() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        BackendUrl, Change, Edit, InstanceName, PathPrefix, Route, RouteId, Sections, ServiceName, SessionKey,
        SessionRecord, Time,
    };

    fn opened(catalog: &mut Catalog, key: u64, service: &str) {
        let (service, instance) = (ServiceName::parse(service).unwrap(), InstanceName::parse("i").unwrap());
        let opened = SessionRecord::opened(service, instance, 0, Time(0));
        catalog.absorb(&Change::Record(SessionKey(key), Arc::new(opened)));
    }

    fn route(id: u32, (host, path): (&str, &str), priority: i32) -> Arc<[Edit]> {
        let route = Route {
            id: RouteId(id),
            name: None,
            domains: vec![Host::parse(host).unwrap()],
            path: PathPrefix::parse(path).unwrap(),
            backend: BackendUrl::parse("http://b").unwrap(),
            priority,
        };
        Arc::new([Edit::Route(RouteId(id), Some(Arc::new(route)))])
    }

    #[test]
    fn what_is_staged_is_named_before_anything_that_is_only_alike() {
        let mut catalog = Catalog::default();
        (1..=6).for_each(|key| opened(&mut catalog, key, &format!("s{key}")));
        let edits = route(9, ("shop.test", "/"), 0);
        catalog.absorb(&Change::Apply { key: SessionKey(6), sections: Sections::ALL, edits });
        let mut stage = |key, id, place, priority| {
            let edit = route(id, place, priority)[0].clone();
            catalog.absorb(&Change::Stage { key: SessionKey(key), edit, at: Time(0) });
        };
        for (key, priority) in [(1, 0), (2, 5), (3, 1), (4, 0), (5, -1)] {
            stage(key, 1, ("common.test", "/"), priority);
        }
        stage(1, 2, ("shap.test", "/api"), 0);
        stage(6, 1, ("shop.test", "/"), 0);
        stage(2, 2, ("far.example", "/v1"), 0);
        for (host, path, expected) in [
            (
                "common.test",
                "/x",
                "; r1 of s2/i would match: it is staged, not applied (CONFIG_APPLY); so would r1 of s3/i, r1 of s1/i, r1 of s4/i and \
                 1 more, which come after it",
            ),
            ("shap.test", "/api", "; r2 of s1/i would match: it is staged, not applied (CONFIG_APPLY)"),
            ("shap.test", "/x", "; of this host is staged, not applied (CONFIG_APPLY): r2 of s1/i with the path /api"),
            ("shup.test", "/x", "; did you mean the host shop.test?"),
            ("fer.example", "/v1", "; did you mean the host far.example? It is staged, not applied (CONFIG_APPLY)"),
        ] {
            assert_eq!(near_match(&catalog, host, path), expected, "{host}{path}");
        }
    }

    #[test]
    fn other_paths_of_the_host_come_before_hosts_that_are_spelled_alike() {
        let mut catalog = Catalog::default();
        opened(&mut catalog, 1, "shop");
        for (id, host, path) in [
            (1, "shop.example", "/api"),
            (2, "shop.example", "/cart"),
            (3, "pay.example", "/"),
            (4, "*.pay.example", "/v1"),
        ] {
            let edits = route(id, (host, path), 0);
            catalog.absorb(&Change::Apply { key: SessionKey(1), sections: Sections::ALL, edits });
        }
        for (host, path, expected) in [
            ("shop.example", "/x", "; routes of this host have other paths: /api, /cart"),
            ("a.pay.example", "/", "; routes of this host have other paths: /v1"),
            ("shp.example", "/api/1", "; did you mean the host shop.example?"),
            ("shp.example", "/x", "; did you mean the host pay.example?"),
            ("entirely.other.test", "/", ""),
        ] {
            assert_eq!(near_match(&catalog, host, path), expected, "{host}{path}");
        }
    }
}
