//! The names that need a certificate: the domains of active routes that the allow-list names.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::domain::Host;

/// The most names that get certificates.
pub(in crate::acme) const NAMES_MAX: usize = 10_000;

/// Returns the names among `domains` that need a certificate, [`NAMES_MAX`] at most.
///
/// An allowed `shop.example` is that name; `*.shop.example` is each name one label below it, and the wildcard itself.
/// Addresses and `*` get no certificate.
pub(in crate::acme) fn wanted(domains: impl Iterator<Item = Host>, allowed: &[Host]) -> BTreeSet<Host> {
    let mut names: BTreeSet<Host> =
        domains.filter(|domain| allowed.iter().any(|allowed| is_allowed(domain, allowed))).collect();
    while names.len() > NAMES_MAX {
        names.pop_last();
    }
    names
}

fn is_allowed(domain: &Host, allowed: &Host) -> bool {
    match (domain, allowed) {
        (Host::Exact(name), _) if is_address(name) => false,
        (Host::Exact(name), Host::Below(base)) => name.split_once('.').is_some_and(|(_, above)| *above == **base),
        (domain, allowed) => domain == allowed && *domain != Host::Any,
    }
}

fn is_address(name: &str) -> bool {
    name.starts_with('[') || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Vec<Host> {
        names.iter().map(|name| Host::parse(name).unwrap()).collect()
    }

    #[test]
    fn only_domains_of_routes_on_the_allow_list_get_certificates() {
        let domains = [
            "shop.example",
            "www.shop.example",
            "a.www.shop.example",
            "other.example",
            "*.shop.example",
            "*.www.shop.example",
            "*",
            "10.0.0.7",
            "[::1]",
            "xshop.example",
        ];
        for (allowed, expected) in [
            (&["shop.example"][..], &["shop.example"][..]),
            (&["*.shop.example"], &["www.shop.example", "*.shop.example"]),
            (&["*.www.shop.example"], &["a.www.shop.example", "*.www.shop.example"]),
            (&["shop.example", "*.shop.example"], &["shop.example", "www.shop.example", "*.shop.example"]),
            (&["*", "10.0.0.7", "*.0.0.7", "[::1]"], &[]),
            (&["absent.example"], &[]),
            (&[], &[]),
        ] {
            let found = wanted(hosts(&domains).into_iter(), &hosts(allowed));
            assert_eq!(found, hosts(expected).into_iter().collect(), "{allowed:?}");
        }
    }

    #[test]
    fn the_number_of_names_is_bounded() {
        let many = (0..NAMES_MAX + 5).map(|at| Host::parse(&format!("n{at}.shop.example")).unwrap());
        assert_eq!(wanted(many, &hosts(&["*.shop.example"])).len(), NAMES_MAX);
    }
}
