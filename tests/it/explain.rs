//! Explain and traffic name the same winner, for every configuration.

use std::sync::Arc;

use proptest::prelude::*;
use signalbox::domain::{
    BackendUrl, BreakerState, Catalog, Change, Edit, Host, InstanceName, PathPrefix, Route, RouteId, Sections,
    ServiceName, SessionKey, SessionRecord, Time,
};
use signalbox::registry::queries::explain::{Explain, ExplainOutcome, explain};
use signalbox::registry::queries::views::BreakerNumbers;
use signalbox::registry::{RegistrationTokens, Traffic};
use signalbox::traffic::{RouteDefaults, RoutingTable};

struct Quiet;

impl Traffic for Quiet {}

fn catalog(routes: &[(&'static str, &'static str, i32)]) -> Catalog {
    let (service, instance) = (ServiceName::parse("shop").unwrap(), InstanceName::parse("shop-1").unwrap());
    let key = SessionKey(1);
    let edits: Arc<[Edit]> = routes
        .iter()
        .zip(1..)
        .map(|((host, path, priority), id)| {
            let route = Route {
                id: RouteId(id),
                name: None,
                domains: Host::parse_list(host).unwrap(),
                path: PathPrefix::parse(path).unwrap(),
                backend: BackendUrl::parse("http://127.0.0.1:1").unwrap(),
                priority: *priority,
            };
            Edit::Route(RouteId(id), Some(Arc::new(route)))
        })
        .collect();
    let mut catalog = Catalog::default();
    catalog.absorb(&Change::Record(key, Arc::new(SessionRecord::opened(service, instance, 0, Time(0)))));
    catalog.absorb(&Change::Apply { key, sections: Sections::ALL, edits });
    catalog
}

fn ask(host: &str, path: &str) -> Explain {
    Explain { host: host.to_owned(), path: path.to_owned(), method: None, staged: None }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn traffic_and_its_explanation_name_the_same_winner(
        routes in prop::collection::vec(
            (
                prop::sample::select(vec!["a.example", "b.a.example", "*.a.example", "*.example", "*", "*.b.a.example"]),
                prop::sample::select(vec!["/", "/x", "/x/y", "/x/y/z", "/xy"]),
                -1i32..2,
            ),
            0..24,
        ),
        host in prop::sample::select(vec!["a.example", "b.a.example", "c.b.a.example", "example", "other.test", "A.EXAMPLE:80"]),
        path in prop::sample::select(vec!["/", "/x", "/x/", "/x/y/q", "/x/y/z", "/xyz", "/xy/z"]),
    ) {
        let catalog = catalog(&routes);
        let table = RoutingTable::build(&catalog, &RouteDefaults::default());
        let normal = signalbox::traffic::request_host(host).unwrap();
        let found = table.find(&normal, path).map(|pool| {
            let mut ids: Vec<RouteId> = pool.members().iter().map(|member| member.id()).collect();
            ids.sort();
            ids
        });
        let explained = explain(&catalog, &ask(host, path), &RegistrationTokens::default(), &Quiet, Time(0)).unwrap();
        let named = explained.candidates.first().map(|winner| {
            prop_assert!(winner.wins);
            let mut ids: Vec<RouteId> = winner.members.iter().map(|member| member.route_id).collect();
            ids.sort();
            Ok(ids)
        }).transpose()?;
        prop_assert_eq!(found, named);
        prop_assert!(explained.candidates.iter().skip(1).all(|other| !other.wins && other.rule.starts_with("shadowed: ")));
    }
}

#[test]
fn the_route_that_shadows_another_is_named() {
    let catalog = catalog(&[("*", "/", 9), ("a.example", "/", 0), ("a.example", "/x", 0), ("a.example", "/", 5)]);
    let explained =
        explain(&catalog, &ask("a.example", "/x?q"), &RegistrationTokens::default(), &Quiet, Time(0)).unwrap();
    let rules: Vec<_> =
        explained.candidates.iter().map(|one| (one.path.as_str(), one.priority, one.rule.as_str())).collect();
    assert_eq!(
        rules,
        [
            ("/", 5, "its priority is the highest of the domain"),
            ("/x", 0, "shadowed: priority 5 goes before 0"),
            ("/", 0, "shadowed: priority 5 goes before 0"),
            ("/", 9, "shadowed: domain a.example is more specific"),
        ]
    );
    assert_eq!(explained.outcome, ExplainOutcome::Forwarded);
    assert_eq!(
        explain(&catalog, &ask("[::1]:80", "/"), &RegistrationTokens::default(), &Quiet, Time(0))
            .unwrap()
            .candidates
            .len(),
        1
    );
    for (host, path) in [("a b", "/"), ("*", "/"), ("a.example:x", "/"), ("a.example", "x"), ("a.example", "/ü")] {
        assert!(
            explain(&catalog, &ask(host, path), &RegistrationTokens::default(), &Quiet, Time(0)).is_err(),
            "{host} {path}"
        );
    }
}

/// Every circuit breaker is open until 10.
struct Open;

impl Traffic for Open {
    fn breaker(&self, _: SessionKey, _: RouteId) -> BreakerNumbers {
        BreakerNumbers { state: BreakerState::Open, next_attempt: Some(Time(10)), ..BreakerNumbers::default() }
    }
}

#[test]
fn a_breaker_that_is_open_keeps_requests_out_until_its_timeout_is_over() {
    let catalog = catalog(&[("a.example", "/", 0)]);
    let outcome = |now| {
        explain(&catalog, &ask("a.example", "/"), &RegistrationTokens::default(), &Open, Time(now)).unwrap().outcome
    };
    assert_eq!([9, 10].map(outcome), [ExplainOutcome::Unavailable, ExplainOutcome::Forwarded]);
}
