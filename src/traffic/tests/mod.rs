//! Tests of the routing table against a search of all routes, and of the live state and pools that it keeps over changes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use proptest::prelude::*;

mod schedule;

use super::*;
use crate::domain::{
    BackendUrl, Catalog, Change, Drain, Edit, HeaderKey, HealthCheck, HealthPath, Host, InstanceName, LoadBalancing,
    Maintenance, MaintenanceEntry, OptionKey, PathPrefix, RateLimit, Route, RouteId, Sections, ServiceName, SessionKey,
    SessionRecord, Span, Target, Time,
};

const WORKER: WorkerId = WorkerId { index: 0, count: 2 };

pub(super) fn record(key: u64) -> Change {
    let instance = InstanceName::parse(&format!("shop-{key}")).unwrap();
    let record = SessionRecord::opened(ServiceName::parse("shop").unwrap(), instance, u128::from(key), Time(0));
    Change::Record(SessionKey(key), Arc::new(record))
}

pub(super) fn apply(key: u64, edits: impl IntoIterator<Item = Edit>) -> Change {
    Change::Apply { key: SessionKey(key), sections: Sections::ALL, edits: edits.into_iter().collect() }
}

pub(super) fn route(id: u32, hosts: &str, path: &str, priority: i32, backend: &str) -> Edit {
    let route = Route {
        id: RouteId(id),
        name: None,
        domains: Host::parse_list(hosts).unwrap(),
        path: PathPrefix::parse(path).unwrap(),
        backend: BackendUrl::parse(backend).unwrap(),
        priority,
    };
    Edit::Route(RouteId(id), Some(Arc::new(route)))
}

fn option(target: Target, key: &str, value: &str) -> Edit {
    Edit::Option(target, OptionKey::parse(key).unwrap(), Some(value.into()))
}

/// A catalog and the table that follows it.
#[derive(Default)]
pub(super) struct World {
    pub(super) catalog: Catalog,
    pub(super) table: RoutingTable,
}

impl World {
    fn change(&mut self, change: &Change) {
        self.catalog.absorb(change);
        self.table.absorb(&self.catalog, change, &RouteDefaults::default());
    }

    pub(super) fn of(changes: impl IntoIterator<Item = Change>) -> Self {
        let mut world = Self::default();
        for change in changes {
            world.change(&change);
        }
        world
    }

    fn members(&self, host: &str, path: &str) -> Vec<(u64, u32)> {
        members(&self.table, host, path)
    }
}

fn members(table: &RoutingTable, host: &str, path: &str) -> Vec<(u64, u32)> {
    let members = table.find(host, path).map_or(&[][..], |pool| pool.members());
    members.iter().map(|member| (member.session.0, member.id().0)).collect()
}

/// Looks at every active route, one by one, as protocol §6 says.
fn oracle(catalog: &Catalog, host: &str, path: &str) -> Vec<(u64, u32)> {
    let specific = |known: &Host| match known {
        Host::Exact(name) => (**name == *host).then_some(usize::MAX),
        Host::Below(base) => host.strip_suffix(&format!(".{base}")).map(|_| base.len()),
        Host::Any => Some(0),
    };
    let below = |prefix: &str| prefix == "/" || path == prefix || path.starts_with(&format!("{prefix}/"));
    let mut found: BTreeMap<(usize, i32, usize), Vec<(u64, u32)>> = BTreeMap::new();
    for session in catalog.sessions() {
        for route in session.active.routes.values().filter(|route| below(route.path.as_str())) {
            for place in route.domains.iter().filter_map(specific) {
                let rank = (place, route.priority, route.path.as_str().len());
                found.entry(rank).or_default().push((session.key.0, route.id.0));
            }
        }
    }
    found.pop_last().map(|(_, members)| members).unwrap_or_default()
}

const HOSTS: [&str; 7] = ["a.x", "b.a.x", "*.x", "*.a.x", "*", "c", "*.b.a.x"];
const ASKED: [&str; 9] = ["a.x", "b.a.x", "c.b.a.x", "q.x", "x", "c", "", "z", "ba.x"];

fn some_path() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", ""]), 0..4)
        .prop_map(|segments| format!("/{}", segments.join("/")))
}

fn some_edit() -> impl Strategy<Value = Edit> {
    let hosts = prop::sample::subsequence(HOSTS.to_vec(), 1..3).prop_map(|hosts| hosts.join(","));
    prop_oneof![
        8 => (1..30_u32, hosts, some_path(), -1..2_i32, 0..2_u8).prop_map(|(id, hosts, path, priority, backend)| {
            route(id, &hosts, &path, priority, &format!("http://b{backend}"))
        }),
        3 => (1..30_u32).prop_map(|id| Edit::Route(RouteId(id), None)),
        1 => Just(option(Target::All, "retries", "2")),
        1 => (1..30_u32).prop_map(|id| option(Target::Route(RouteId(id)), "retries", "3")),
        2 => (some_target(), prop::option::of(1..3_u32)).prop_map(|(target, requests)| {
            Edit::RateLimit(target, requests.map(limit))
        }),
        2 => (some_target(), prop::option::of(1..3_u32)).prop_map(|(target, threshold)| {
            Edit::Breaker(target, threshold.map(breaker))
        }),
        1 => (1..30_u32, prop::option::of(Just(check()))).prop_map(|(id, check)| Edit::Health(RouteId(id), check)),
    ]
}

fn some_target() -> impl Strategy<Value = Target> {
    prop_oneof![1 => Just(Target::All), 3 => (1..30_u32).prop_map(|id| Target::Route(RouteId(id)))]
}

fn limit(requests: u32) -> RateLimit {
    RateLimit { requests, window: Span::from_secs(60) }
}

fn breaker(threshold: u32) -> crate::domain::Breaker {
    crate::domain::Breaker { threshold, timeout: Span::from_secs(1), half_open_requests: 1 }
}

fn check() -> HealthCheck {
    HealthCheck { path: HealthPath::root(), interval: Span::from_secs(1), timeout: Span::from_secs(1) }
}

fn some_change() -> impl Strategy<Value = Change> {
    let key = 1..4_u64;
    prop_oneof![
        9 => (key.clone(), prop::collection::vec(some_edit(), 1..12)).prop_map(|(key, edits)| apply(key, edits)),
        1 => key.prop_map(|key| Change::End(SessionKey(key))),
    ]
}

proptest! {
    #[test]
    fn the_table_finds_what_a_search_of_every_route_finds(
        changes in prop::collection::vec(some_change(), 1..25),
        paths in prop::collection::vec(some_path(), 1..12),
    ) {
        let mut world = World::of((1..4).map(record));
        for change in &changes {
            world.change(change);
            let built = RoutingTable::build(&world.catalog, &RouteDefaults::default());
            for host in ASKED {
                for path in &paths {
                    let expected: BTreeSet<_> = oracle(&world.catalog, host, path).into_iter().collect();
                    let found: BTreeSet<_> = world.members(host, path).into_iter().collect();
                    prop_assert_eq!(&found, &expected, "{} {}", host, path);
                    prop_assert_eq!(world.members(host, path), members(&built, host, path), "absorbed and built differ");
                }
            }
            prop_assert_eq!(world.table.len(), world.catalog.routes_len());
        }
    }

    #[test]
    fn settings_are_the_same_however_the_table_came_to_be(changes in prop::collection::vec(some_change(), 1..25)) {
        let mut world = World::of((1..4).map(record));
        for change in &changes {
            world.change(change);
        }
        let built = RoutingTable::build(&world.catalog, &RouteDefaults::default());
        for session in world.catalog.sessions() {
            for (a, b) in world.table.endpoints_of(session.key).zip(built.endpoints_of(session.key)) {
                prop_assert_eq!(&a.route, &b.route);
                prop_assert_eq!(a.options(), b.options());
                prop_assert_eq!(policy_of(a), policy_of(b));
            }
        }
    }
}

#[test]
fn many_paths_on_one_host_are_found_as_few_are() {
    let many = (1..=1000).map(|id| route(id, "a", &format!("/{}/{}", id % 10, id), 0, "http://b"));
    let mut world = World::of([record(1), apply(1, many)]);
    assert_eq!(world.members("a", "/7/77/deeper"), [(1, 77)]);
    assert_eq!(world.members("a", "/7/78"), []);
    world.change(&apply(1, [route(2000, "a", "/7", 1, "http://b")]));
    assert_eq!(world.members("a", "/7/77"), [(1, 2000)], "the higher priority goes before the longer path");
    world.change(&apply(1, (1..=1000).map(|id| Edit::Route(RouteId(id), None))));
    assert_eq!((world.members("a", "/7/77"), world.table.len()), (vec![(1, 2000)], 1));
}

#[test]
fn one_route_takes_http2_out_for_its_domains_whatever_its_path() {
    for others in [0, 1, 20] {
        let many = (1..=others).map(|id| route(id, "a", &format!("/{id}"), 0, "http://b"));
        let own = [route(100, "a,*.w", "/deep/path", 3, "http://b"), route(101, "b,x.w", "/", 0, "http://b")];
        let mut world = World::of([record(1), apply(1, many.chain(own))]);
        let allowed = |world: &World| ["a", "b", "y.x.w", "x.w", "none"].map(|host| world.table.allows_http2(host));
        let set = |target, value| apply(1, [option(target, "http2", value)]);
        assert_eq!(allowed(&world), [true; 5]);
        world.change(&set(Target::Route(RouteId(100)), "false"));
        assert_eq!(allowed(&world), [false, true, false, true, true], "{others} other paths");
        world.change(&set(Target::All, "false"));
        world.change(&set(Target::Route(RouteId(100)), "true"));
        assert_eq!(allowed(&world), [others == 0, false, true, false, true]);
        world.change(&set(Target::All, "true"));
        assert_eq!(allowed(&world), [true; 5]);
        world.change(&set(Target::Route(RouteId(100)), "false"));
        world.change(&apply(1, [Edit::Route(RouteId(100), None)]));
        assert_eq!(allowed(&world), [true; 5]);
    }
}

#[test]
fn live_state_stays_while_session_route_and_backend_stay() {
    let mut world = World::of([record(1), apply(1, [route(1, "a", "/", 0, "http://b")])]);
    let live = |world: &World| Arc::clone(&world.table.endpoint(SessionKey(1), RouteId(1)).unwrap().live);
    let in_flight = live(&world).begin_request(WORKER);
    in_flight.record(&RequestRecord { status: 200, ..RequestRecord::default() });
    world.change(&apply(1, [route(1, "a,c", "/x", 5, "http://b"), option(Target::All, "retries", "0")]));
    assert_eq!((world.table.in_flight(SessionKey(1)), live(&world).stats().requests), (1, 1));
    world.change(&apply(1, [route(1, "a,c", "/x", 5, "http://other")]));
    assert_eq!((live(&world).in_flight(), live(&world).stats().requests), (0, 0), "it begins anew");
    assert_eq!(world.table.in_flight(SessionKey(1)), 1, "but the session's request goes on");
    drop(in_flight);
    assert_eq!(world.table.in_flight(SessionKey(1)), 0);
}

/// Returns the limits and checks of an endpoint.
fn policy_of(endpoint: &Endpoint) -> (Option<RateLimit>, bool, Option<crate::domain::Breaker>, Option<HealthCheck>) {
    let policy = &endpoint.policy;
    let limit = policy.limiter.as_ref().map(|limiter| limiter.settings());
    let breaker = endpoint.breaker().map(|breaker| breaker.settings());
    (limit, policy.has_own_limiter, breaker, policy.health_check.as_deref().cloned())
}

#[test]
fn limits_of_all_are_one_and_those_of_a_route_its_own() {
    let routes = (1..4).map(|id| route(id, "*", &format!("/{id}"), 0, "http://b"));
    let mut world = World::of([record(1), apply(1, routes)]);
    let limiter = |world: &World, id| {
        world.table.endpoint(SessionKey(1), RouteId(id)).unwrap().policy.limiter.as_ref().map(Arc::clone)
    };
    assert!(limiter(&world, 1).is_none());
    world.change(&apply(1, [Edit::RateLimit(Target::All, Some(limit(5)))]));
    let all = limiter(&world, 1).unwrap();
    assert!(Arc::ptr_eq(&all, &limiter(&world, 2).unwrap()));
    world.change(&apply(1, [Edit::RateLimit(Target::Route(RouteId(2)), Some(limit(5)))]));
    let own = limiter(&world, 2).unwrap();
    assert!(!Arc::ptr_eq(&all, &own), "the same numbers, but a budget of its own");
    world.change(&apply(1, [option(Target::All, "retries", "4"), route(3, "*", "/3", 0, "http://other")]));
    assert!(Arc::ptr_eq(&all, &limiter(&world, 3).unwrap()) && Arc::ptr_eq(&own, &limiter(&world, 2).unwrap()));
    let pool = world.table.find("a", "/2").unwrap();
    assert!(Arc::ptr_eq(pool.limiter().unwrap(), &own));
}

#[test]
fn a_breaker_stays_with_its_settings_and_its_backend() {
    let routes = (1..3).map(|id| route(id, "*", &format!("/{id}"), 0, "http://b"));
    let mut world = World::of([record(1), apply(1, routes), apply(1, [Edit::Breaker(Target::All, Some(breaker(1)))])]);
    let one =
        |world: &World, id| Arc::clone(world.table.endpoint(SessionKey(1), RouteId(id)).unwrap().breaker().unwrap());
    let first = one(&world, 1);
    assert!(!Arc::ptr_eq(&first, &one(&world, 2)), "each route has its own");
    world.change(&apply(1, [option(Target::All, "retries", "4"), route(1, "*", "/x", 3, "http://b")]));
    world.change(&apply(1, [Edit::Breaker(Target::Route(RouteId(1)), Some(breaker(1)))]));
    assert!(Arc::ptr_eq(&first, &one(&world, 1)));
    world.change(&apply(1, [route(1, "*", "/x", 3, "http://other")]));
    assert!(!Arc::ptr_eq(&first, &one(&world, 1)));
}

#[test]
fn a_session_record_alone_drains_and_closes_its_endpoints() {
    let mut world = World::of([record(1), apply(1, [route(1, "a", "/", 0, "http://b")])]);
    world.table.assume_healthy();
    let endpoint = Arc::clone(world.table.endpoint(SessionKey(1), RouteId(1)).unwrap());
    let mut turn = |drain, maintenance: &Maintenance| {
        let Change::Record(key, mut told) = record(1) else { unreachable!() };
        (Arc::make_mut(&mut told).drain, Arc::make_mut(&mut told).maintenance) = (drain, maintenance.clone());
        world.change(&Change::Record(key, told));
        assert!(Arc::ptr_eq(&endpoint, world.table.endpoint(SessionKey(1), RouteId(1)).unwrap()));
        endpoint.eligibility(Time(2_000))
    };
    let drain = |secs| Some(Drain { started: Time(1_000), span: Span::from_secs(secs), by_operator: false });
    let mut maintenance = Maintenance::default();
    assert_eq!(turn(None, &maintenance), Eligibility::Ready(Weight::FULL));
    assert_eq!(turn(drain(1), &maintenance), Eligibility::Drained);
    assert!(matches!(turn(drain(2), &maintenance), Eligibility::Ready(weight) if weight.parts() == 1 << 15));
    maintenance.enter(Target::All, MaintenanceEntry { page: None, entered: Time(0), by_operator: false });
    assert_eq!(turn(drain(2), &maintenance), Eligibility::Maintenance);
    maintenance.exit(Target::Route(RouteId(1)));
    assert_eq!(turn(None, &maintenance), Eligibility::Ready(Weight::FULL));
    maintenance.enter(Target::Route(RouteId(1)), MaintenanceEntry { page: None, entered: Time(0), by_operator: false });
    assert_eq!(turn(None, &maintenance), Eligibility::Maintenance);
    assert_eq!(turn(None, &Maintenance::default()), Eligibility::Ready(Weight::FULL));
}

#[test]
fn routes_without_settings_of_their_own_share_one() {
    let mut world =
        World::of([record(1), apply(1, [route(1, "a", "/", 0, "http://b"), route(2, "b", "/", 0, "http://b")])]);
    let settings = |world: &World, id| Arc::clone(&world.table.endpoint(SessionKey(1), RouteId(id)).unwrap().settings);
    assert!(Arc::ptr_eq(&settings(&world, 1), &settings(&world, 2)));
    world.change(&apply(1, [option(Target::All, "retries", "7")]));
    assert!(Arc::ptr_eq(&settings(&world, 1), &settings(&world, 2)));
    assert_eq!(settings(&world, 2).options.retries, 7);
    world.change(&apply(1, [option(Target::Route(RouteId(2)), "retries", "8")]));
    assert_eq!((settings(&world, 1).options.retries, settings(&world, 2).options.retries), (7, 8));
}

#[test]
fn new_defaults_reach_every_route_and_leave_its_live_state() {
    let mut world = World::of([record(1), apply(1, [route(1, "a", "/", 0, "http://b")])]);
    let _in_flight = world.table.endpoint(SessionKey(1), RouteId(1)).unwrap().live.begin_request(WORKER);
    let headers = vec![(HeaderKey::parse("x-a").unwrap(), "1".into())];
    world.table.rebase(&world.catalog, &RouteDefaults { headers, ..RouteDefaults::default() });
    let endpoint = world.table.endpoint(SessionKey(1), RouteId(1)).unwrap();
    assert_eq!((endpoint.settings.headers.len(), world.table.in_flight(SessionKey(1))), (1, 1));
    assert_eq!(world.members("a", "/"), [(1, 1)]);
}

/// Returns the pool of three instances of one service.
fn pool_of_three(how: LoadBalancing) -> Arc<Pool> {
    let name = match how {
        LoadBalancing::LeastRequests => "least_requests",
        LoadBalancing::RoundRobin => "round_robin",
        LoadBalancing::ClientIp => "client_ip",
    };
    let session = |key| {
        [
            record(key),
            apply(key, [route(1, "*", "/", 0, &format!("http://b{key}")), option(Target::All, "load_balancing", name)]),
        ]
    };
    let world = World::of((1..4).flat_map(session));
    Arc::clone(world.table.find("a", "/").unwrap())
}

fn draw(random_bits: u64, turn: usize, client: u32) -> SelectionInput {
    SelectionInput { random_bits, turn, client: IpAddr::V4(Ipv4Addr::from(client)) }
}

#[test]
fn turns_go_round_and_each_worker_takes_its_own() {
    let pool = pool_of_three(LoadBalancing::RoundRobin);
    let next = |index| pool.select(Time(0), &[], || draw(0, pool.next_turn(WorkerId { index, count: 2 }), 0)).unwrap();
    assert_eq!([next(0), next(0), next(1), next(0), next(0)], [0, 1, 0, 2, 0]);
}

#[test]
fn the_less_busy_of_two_is_taken_and_every_member_gets_requests() {
    let pool = pool_of_three(LoadBalancing::LeastRequests);
    let in_flight: Vec<_> = (0..5).map(|_| pool.members()[1].live.begin_request(WORKER)).collect();
    let mut state = 1_u64;
    let mut picked = [0; 3];
    for _ in 0..1000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        picked[pool.select(Time(0), &[], || draw(state, 0, 0)).unwrap()] += 1;
    }
    assert_eq!(picked[1], 0, "it has five requests, and each other member has none");
    assert!(picked[0] > 300 && picked[2] > 300, "{picked:?}");
    drop(in_flight);
}

#[test]
fn clients_spread_over_members_and_stay_when_another_leaves() {
    let pool = pool_of_three(LoadBalancing::ClientIp);
    let of = |client, tried: &[usize]| pool.select(Time(0), tried, || draw(0, 0, client)).unwrap();
    let counts = (0..3000).fold([0; 3], |mut counts, client| {
        counts[of(client, &[])] += 1;
        counts
    });
    assert!(counts.iter().all(|count| *count > 800), "{counts:?}");
    assert!((0..3000).all(|client| of(client, &[]) == 0 || of(client, &[0]) == of(client, &[])));
}

#[test]
fn a_tried_member_is_not_picked_again() {
    for how in [LoadBalancing::LeastRequests, LoadBalancing::RoundRobin, LoadBalancing::ClientIp] {
        let pool = pool_of_three(how);
        for random_bits in [0, 1, u64::MAX, 0x1234_5678_9abc_def0] {
            let turn = usize::try_from(random_bits % 7).unwrap();
            let last = pool.select(Time(0), &[0, 2], || draw(random_bits, turn, 9));
            assert_eq!(last, Ok(1), "{how:?}");
            assert_eq!(pool.select(Time(0), &[0, 1, 2], || draw(random_bits, turn, 9)), Err(NoEndpoint::Tried));
        }
    }
}
