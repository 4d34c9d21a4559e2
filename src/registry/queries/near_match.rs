//! Finds what a request without a route may have meant: other paths of its host, or a host that is spelled almost like it.
//!
//! It decides nothing; its words are for people. Invariant: at most [`SHOWN_MAX`] paths are named.

use std::collections::BTreeSet;

use crate::domain::{Catalog, Host, nearest};

/// The most paths that are named.
const SHOWN_MAX: usize = 3;

/// Returns words for the active routes that come closest to a request; empty if none is near.
pub(super) fn near_match(catalog: &Catalog, host: &str, path: &str) -> String {
    let routes = || catalog.sessions().flat_map(|session| session.active.routes.values());
    let of_host = routes().filter(|route| route.domains.iter().any(|rule| rule.covers(host)));
    let paths: BTreeSet<&str> = of_host.map(|route| route.path.as_str()).collect();
    if !paths.is_empty() {
        let shown: Vec<&str> = paths.iter().take(SHOWN_MAX).copied().collect();
        let more = if paths.len() > shown.len() { ", …" } else { "" };
        return format!("; routes of this host have other paths: {}{more}", shown.join(", "));
    }
    let covering = routes().filter(|route| route.path.covers(path));
    let names = covering.flat_map(|route| &route.domains).filter_map(|rule| match rule {
        Host::Exact(name) => Some(&**name),
        Host::Below(_) | Host::Any => None,
    });
    match nearest(host, names) {
        Some(name) => format!("; did you mean the host {name}?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{
        BackendUrl, Change, Edit, InstanceName, PathPrefix, Route, RouteId, Sections, ServiceName, SessionKey,
        SessionRecord, Time,
    };

    #[test]
    fn other_paths_of_the_host_come_before_hosts_that_are_spelled_alike() {
        let mut catalog = Catalog::default();
        let (service, instance) = (ServiceName::parse("shop").unwrap(), InstanceName::parse("shop-1").unwrap());
        let opened = SessionRecord::opened(service, instance, 0, Time(0));
        catalog.absorb(&Change::Record(SessionKey(1), Arc::new(opened)));
        for (id, host, path) in [
            (1, "shop.example", "/api"),
            (2, "shop.example", "/cart"),
            (3, "pay.example", "/"),
            (4, "*.pay.example", "/v1"),
        ] {
            let route = Route {
                id: RouteId(id),
                name: None,
                domains: vec![Host::parse(host).unwrap()],
                path: PathPrefix::parse(path).unwrap(),
                backend: BackendUrl::parse("http://b").unwrap(),
                priority: 0,
            };
            let edits = Arc::new([Edit::Route(RouteId(id), Some(Arc::new(route)))]);
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
