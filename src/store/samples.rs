//! Sample values for the tests of the store.

use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;

use crate::domain::{
    BackendUrl, Breaker, Drain, Edit, EventKind, HeaderKey, HealthCheck, HealthPath, Host, InstanceName, Lease,
    Maintenance, MaintenanceEntry, Metadata, OptionKey, Owner, PageUrl, PathPrefix, Pending, PendingKind, RateLimit,
    Route, RouteId, RouteName, ServiceName, SessionRecord, Span, Target, Ticket, Time, Topics,
};

pub(super) fn route(id: u32, domains: &str, path: &str) -> Route {
    Route {
        id: RouteId(id),
        name: None,
        domains: Host::parse_list(domains).unwrap(),
        path: PathPrefix::parse(path).unwrap(),
        backend: BackendUrl::parse("http://10.0.0.7:8080").unwrap(),
        priority: 0,
    }
}

pub(super) fn route_edit(id: u32, domains: &str, path: &str) -> Edit {
    Edit::Route(RouteId(id), Some(Arc::new(route(id, domains, path))))
}

pub(super) fn record(service: &str, instance: &str) -> SessionRecord {
    let (service, instance) = (ServiceName::parse(service).unwrap(), InstanceName::parse(instance).unwrap());
    let opened = SessionRecord::opened(service, instance, 7, Time(1_795_323_231_906));
    SessionRecord { maintenance_port: 9000, ..opened }
}

fn span() -> impl Strategy<Value = Span> {
    (1..10_000_000_u64).prop_map(Span::from_millis)
}

fn path() -> impl Strategy<Value = PathPrefix> {
    "(/[a-z0-9%.~-]{1,6}x){0,3}/?".prop_map(|text| PathPrefix::parse(&format!("/{text}")).unwrap())
}

fn any_route(id: u32) -> impl Strategy<Value = Route> {
    let name = "(\\*\\.)?[a-z]{1,5}\\.(example|bücher)|\\*|10\\.0\\.0\\.[1-9]|\\[::1\\]";
    let backend = "(http|ws)://([a-z]{1,8}|\\[::1\\]|10\\.1\\.2\\.3)(:80[0-9]{2})?(/[a-z]{1,4})?/?";
    let domains = proptest::collection::vec(name, 1..4);
    let name = proptest::option::of("[a-z]{1,8}");
    (domains, path(), backend, any::<i32>(), name).prop_map(move |(domains, path, backend, priority, name)| Route {
        id: RouteId(id),
        name: name.map(|name| RouteName::parse(&name).unwrap()),
        domains: Host::gather(domains.iter().map(String::as_str)).unwrap(),
        path,
        backend: BackendUrl::parse(&backend).unwrap(),
        priority,
    })
}

/// Returns any edit, for `ALL` or for a route with one of `ids`.
pub(super) fn edit(ids: Range<u32>) -> impl Strategy<Value = Edit> {
    let target = prop_oneof![Just(Target::All), ids.clone().prop_map(|id| Target::Route(RouteId(id)))];
    let text = || proptest::option::of("[ -~é]{0,20}x".prop_map(Arc::<str>::from));
    let key = "[A-Za-z][a-z_.-]{0,3}";
    let asked = "(/[a-z]{1,3}){1,2}/?([?][a-z=&]{0,4})?".prop_map(|text| HealthPath::parse(&text).unwrap());
    let check = (asked, span(), span());
    let limit = (1..1000_u32, span()).prop_map(|(requests, window)| RateLimit { requests, window });
    let breaker = (1..1000_u32, span(), 1..1000_u32).prop_map(|(threshold, timeout, half_open_requests)| Breaker {
        threshold,
        timeout,
        half_open_requests,
    });
    prop_oneof![
        (ids.clone(), any::<bool>()).prop_flat_map(|(id, is_kept)| {
            any_route(id).prop_map(move |route| Edit::Route(RouteId(id), is_kept.then(|| Arc::new(route))))
        }),
        (target.clone(), "X-[a-z]{1,2}", text()).prop_map(|(target, name, value)| Edit::Header(
            target,
            HeaderKey::parse(&name).unwrap(),
            value
        )),
        (target.clone(), key, text()).prop_map(|(target, key, value)| Edit::Option(
            target,
            OptionKey::parse(&key).unwrap(),
            value
        )),
        (ids, proptest::option::of(check)).prop_map(|(id, check)| {
            let check = check.map(|(path, interval, timeout)| HealthCheck { path, interval, timeout });
            Edit::Health(RouteId(id), check)
        }),
        (target.clone(), proptest::option::of(limit)).prop_map(|(target, limit)| Edit::RateLimit(target, limit)),
        (target, proptest::option::of(breaker)).prop_map(|(target, breaker)| Edit::Breaker(target, breaker)),
    ]
}

fn maintenance() -> impl Strategy<Value = Maintenance> {
    let page = proptest::option::of("http://p:8000(/[a-z]{0,4}(\\?[a-z]=[0-9])?)?");
    let entry = (page, any::<u64>(), any::<bool>()).prop_map(|(page, entered, by_operator)| MaintenanceEntry {
        page: page.map(|page| PageUrl::parse(&page).unwrap()),
        entered: Time(entered),
        by_operator,
    });
    let routes = proptest::collection::btree_map(1..9_u32, proptest::option::of(entry.clone()), 0..3);
    (proptest::option::of(entry), routes).prop_map(|(all, routes)| Maintenance {
        all,
        routes: routes.into_iter().map(|(id, entry)| (RouteId(id), entry)).collect(),
    })
}

/// Returns any waiting maintenance request.
pub(super) fn pending() -> impl Strategy<Value = Pending> {
    let page = proptest::option::of("http://p:8000(/[a-z]{0,4})?");
    let target = prop_oneof![Just(Target::All), (1..9_u32).prop_map(|id| Target::Route(RouteId(id)))];
    (any::<bool>(), page, proptest::collection::vec(target, 1..4)).prop_map(|(exits, page, targets)| Pending {
        ticket: Ticket(0),
        kind: if exits { PendingKind::Exit } else { PendingKind::Enter },
        targets: targets.into(),
        page: page.map(|page| PageUrl::parse(&page).unwrap()),
    })
}

/// Returns any later record of the same session.
pub(super) fn altered(record: SessionRecord) -> impl Strategy<Value = SessionRecord> {
    let drain = proptest::option::of((any::<u64>(), span(), any::<bool>()));
    let topics = proptest::sample::subsequence(EventKind::TOPICS.to_vec(), 0..=EventKind::TOPICS.len());
    let lease = prop_oneof![Just(None), Just(Some(Lease::Permanent)), span().prop_map(|span| Some(Lease::For(span)))];
    let owner = prop_oneof![Just(Owner::Session), Just(Owner::Operator), Just(Owner::File("a b.toml".into()))];
    let metadata = prop_oneof![Just("{}"), Just(r#"{"größe": [1, null, "x|y\n"]}"#)];
    (proptest::option::of(any::<u64>()), drain, maintenance(), topics, metadata, any::<u16>(), lease, owner).prop_map(
        move |(last_apply, drain, maintenance, topics, metadata, maintenance_port, lease, owner)| SessionRecord {
            revision: record.revision + 1,
            last_apply: last_apply.map(Time),
            drain: drain.map(|(started, span, by_operator)| Drain { started: Time(started), span, by_operator }),
            maintenance,
            topics: topics.into_iter().fold(Topics::default(), Topics::with),
            metadata: Metadata::parse(metadata).unwrap(),
            maintenance_port,
            lease,
            owner,
            ..record.clone()
        },
    )
}
