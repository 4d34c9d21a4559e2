//! Finds what a request without a route may have meant: a route that is staged and not applied, other paths of its host, or a host that
//! is near.
//!
//! It decides nothing; its words are for people. Invariant: at most [`SHOWN_MAX`] routes and paths are named, with the number of the others.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::domain::{Catalog, Host, Route, Session};

use super::host_meant::HostGuess;

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
    // The paths of the host say more than a host that is only near, but a wildcard of its own name has the path itself.
    let guess = host_meant(catalog, &staged, host, path).filter(|guess| paths.is_empty() || guess.is_base_of(host));
    paths + &guess.map_or_else(String::new, |guess| guess.words(host, STAGED))
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

/// Returns the nearest host of the routes that have the path; of two that are as near, the one that is active.
fn host_meant<'a>(
    catalog: &'a Catalog,
    staged: &'a [StagedRoute<'a>],
    host: &'a str,
    path: &'a str,
) -> Option<HostGuess<'a>> {
    let active = active_routes(catalog).map(|route| (route, false));
    let routes = active.chain(staged.iter().map(|(_, route)| (*route, true)));
    let guesses = routes.filter(|(route, _)| route.path.covers(path)).flat_map(|(route, is_staged)| {
        route.domains.iter().filter_map(move |rule| HostGuess::of(host, rule, is_staged))
    });
    guesses.min()
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
            ("shp.example", "/x", ""),
            ("pya.example", "/x", "; did you mean the host pay.example?"),
            ("entirely.other.test", "/", ""),
        ] {
            assert_eq!(near_match(&catalog, host, path), expected, "{host}{path}");
        }
    }

    /// Answers for active and staged routes, each with its host and its path.
    fn answer(
        active: &[(&'static str, &'static str)],
        staged: &[(&'static str, &'static str)],
        asked: (&str, &str),
    ) -> String {
        let mut catalog = Catalog::default();
        opened(&mut catalog, 1, "shop");
        for (id, place) in (1..).zip(active) {
            let edits = route(id, *place, 0);
            catalog.absorb(&Change::Apply { key: SessionKey(1), sections: Sections::ALL, edits });
        }
        for (id, place) in (100..).zip(staged) {
            let edit = route(id, *place, 0)[0].clone();
            catalog.absorb(&Change::Stage { key: SessionKey(1), edit, at: Time(0) });
        }
        near_match(&catalog, asked.0, asked.1)
    }

    #[test]
    fn the_nearest_host_is_meant_whether_it_is_active_or_staged() {
        let active = [("dead.test", "/"), ("shop-1.test", "/"), ("10.0.0.7", "/"), ("a.test", "/"), ("io", "/")];
        let staged = [("near.test", "/v1"), ("shop-12.test", "/"), ("shop-2.test", "/"), ("www.near.test", "/v2")];
        let is_staged = |name: &str| format!("; did you mean the host {name}? It is {STAGED}");
        let is_active = |name: &str| format!("; did you mean the host {name}?");
        for (host, path, expected) in [
            ("naer.test", "/v1", is_staged("near.test")),
            ("naer.tset", "/v1", is_staged("near.test")),
            ("wwwnear.test", "/v2", is_staged("www.near.test")),
            ("daed.test", "/v1", is_active("dead.test")),
            ("shop-3.test", "/", is_active("shop-1.test")),
            ("shop-13.test", "/", is_active("shop-1.test")),
            ("shop-112.test", "/", is_staged("shop-12.test")),
            ("deal.example", "/", String::new()),
            ("wild.test", "/", String::new()),
            ("10.1.1.7", "/", String::new()),
            ("b.test", "/", String::new()),
            ("ip", "/", String::new()),
        ] {
            assert_eq!(answer(&active, &staged, (host, path)), expected, "{host}{path}");
        }
    }

    #[test]
    fn hosts_that_differ_by_labels_at_the_start_are_meant_before_far_ones() {
        let (places, other) =
            ([("near.test", "/v1"), ("*.wild.test", "/api"), ("*.a.far.test", "/")], [("dead.test", "/")]);
        for (host, path, as_active, as_staged) in [
            (
                "wild.test",
                "/api",
                "; did you mean a name below wild.test? *.wild.test covers names below it, not the name itself",
                "; it is ",
            ),
            (
                "wilt.test",
                "/api",
                "; did you mean a name below wild.test? *.wild.test covers names below it, not the name itself",
                "; it is ",
            ),
            ("x.wilt.test", "/api", "; did you mean the host x.wild.test? *.wild.test covers it", ", and is "),
            ("y.x.wilt.test", "/api", "; did you mean the host y.x.wild.test? *.wild.test covers it", ", and is "),
        ] {
            assert_eq!(answer(&places, &other, (host, path)), as_active, "{host}{path}");
            assert_eq!(
                answer(&other, &places, (host, path)),
                format!("{as_active}{as_staged}{STAGED}"),
                "{host}{path}"
            );
        }
        for host in ["www.near.test", "b.www.near.test"] {
            let covers = "*.near.test would cover names below it";
            let expected = format!("; did you mean the host near.test? {covers}");
            assert_eq!(answer(&places, &other, (host, "/v1")), expected, "{host}");
            let expected = format!("; did you mean the host near.test? It is {STAGED}; {covers}");
            assert_eq!(answer(&other, &places, (host, "/v1")), expected, "{host}");
        }
        let paths = "; routes of this host have other paths: /site";
        let below = "; did you mean a name below wild.test? *.wild.test covers names below it, not the name itself";
        let both = [("wild.test", "/site"), ("*.wild.test", "/api"), ("wilt.test", "/api")];
        assert_eq!(answer(&both, &other, ("wild.test", "/api")), format!("{paths}{below}"));
        assert_eq!(answer(&places, &other, ("far.test", "/")), "", "names below it are two labels longer");
    }

    #[test]
    fn long_names_are_compared_only_as_wholes() {
        let long = Host::parse(&format!("{0}.{0}.{0}.test", "x".repeat(60))).unwrap();
        let asked = format!("{0}.{0}.{0}.test", "y".repeat(60));
        assert_eq!(HostGuess::of(&asked, &long, false), None);
        let base = Host::parse(&format!("*.{asked}")).unwrap();
        assert!(HostGuess::of(&asked, &base, false).is_some(), "the same name costs no comparison");
    }
}
