//! Explain and requests agree on the members: a member takes requests exactly if explain says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use signalbox::grpc::proto::ExplainRequest;
use signalbox::grpc::proto::operator_client::OperatorClient;
use tonic::transport::Endpoint;

use crate::server::eventually;
use crate::support::backend::{Backend, KillableBackend};
use crate::support::server_harness::{Instance, ServerHarness};

/// How often members are checked, and how long each check may take. One that a busy machine holds up must not make its
/// member ill.
const CHECK_INTERVAL: &str = "500ms";

/// A backend that answers checks and requests as it was last told, and counts the requests.
struct Member {
    backend: Backend,
    check: Arc<AtomicU16>,
    answer: Arc<AtomicU16>,
    requests: Arc<AtomicUsize>,
}

impl Member {
    fn new(check: u16) -> Self {
        let (check, answer) = (Arc::new(AtomicU16::new(check)), Arc::new(AtomicU16::new(200)));
        let requests = Arc::new(AtomicUsize::new(0));
        let (of_check, of_answer, counted) = (Arc::clone(&check), Arc::clone(&answer), Arc::clone(&requests));
        let backend = Backend::new(move |mut wire| {
            while let Some(request) = wire.message() {
                let is_check = request.field("user-agent") == Some("signalbox");
                counted.fetch_add(usize::from(!is_check), Ordering::SeqCst);
                let status = if is_check { &of_check } else { &of_answer }.load(Ordering::SeqCst);
                // 0: no answer.
                if status == 0 {
                    wire.has_ended();
                    return;
                }
                wire.send(format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n"));
            }
        });
        Self { backend, check, answer, requests }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// An instance with `r1` for a path, not applied yet.
fn staged(harness: &ServerHarness, name: &str, path: &str, backend: &str, interval: &str) -> Instance {
    let mut instance = harness.empty(name);
    instance.add("*", path, backend);
    for (key, value) in
        [("health_check_interval", interval), ("health_check_timeout", interval), ("load_balancing", "round_robin")]
    {
        instance.expect("OPTIONS_SET", &format!("r1|{key}|{value}"), "OPTIONS_OK");
    }
    instance
}

fn known(instance: &mut Instance) -> Value {
    instance.payload("CIRCUIT_BREAKER_STATUS", "r1")
}

fn is_checked(instance: &mut Instance) -> bool {
    !known(instance)["last_check"].is_null()
}

/// Returns the outcome that REST explains for a path, and the member of that name.
fn explained(harness: &ServerHarness, path: &str, name: &str) -> (String, Value) {
    let told = harness.told(&format!("/v1/explain?host=a&path={path}"));
    let members = told["candidates"][0]["members"].as_array().unwrap();
    let member = members.iter().find(|member| member["instance_name"] == name).unwrap();
    (told["outcome"].as_str().unwrap().to_owned(), member.clone())
}

/// Returns the same member as gRPC explains it, in the words of REST.
fn explained_over_grpc(harness: &ServerHarness, path: &str, name: &str) -> Value {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let endpoint = Endpoint::from_shared(format!("http://{}", harness.server().api)).unwrap();
        let mut operator = OperatorClient::new(endpoint.connect().await.unwrap());
        let ask = ExplainRequest { host: "a".to_owned(), path: path.to_owned(), method: None, staged: None };
        let told = operator.explain(ask).await.unwrap().into_inner();
        let member = told.candidates[0].members.iter().find(|member| member.instance_name == name).unwrap();
        let reason = |check: &Option<signalbox::grpc::proto::HealthCheckOutcome>| {
            check.as_ref().map(|check| (check.ok, check.reason.clone()))
        };
        json!({
            "takes_requests": member.takes_requests, "healthy": member.healthy, "in_maintenance": member.in_maintenance,
            "last_check": reason(&member.last_check), "last_failed_check": reason(&member.last_failed_check),
        })
    })
}

/// The same of what REST says.
fn in_short(member: &Value) -> Value {
    let reason = |check: &Value| {
        assert!(check.is_null() || check["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{check}");
        if check.is_null() { Value::Null } else { json!([check["ok"], check["reason"]]) }
    };
    json!({
        "takes_requests": member["takes_requests"], "healthy": member["healthy"],
        "in_maintenance": member["in_maintenance"], "last_check": reason(&member["last_check"]),
        "last_failed_check": reason(&member["last_failed_check"]),
    })
}

/// Brings a member into the state.
type Make = fn(&mut Instance, &Member, &dyn Fn() -> u16);
/// Its name, how its first check is answered, what makes it so, and whether it takes requests beside a well one, and alone.
type State = (&'static str, u16, Make, [bool; 2]);

const STATES: [State; 12] = [
    ("well", 200, |_, _, _| {}, [true, true]),
    ("ill from the start", 500, |_, _, _| {}, [false, true]),
    ("not-checked-yet", 0, |_, _, _| {}, [false, true]),
    ("ill", 200, |instance, member, _| fall_ill(instance, member), [false, true]),
    (
        "ill by its own check",
        200,
        |instance, member, _| {
            instance.set("HEALTH_SET", "r1|/well|100ms|100ms");
            fall_ill(instance, member);
        },
        [false, false],
    ),
    (
        "well again",
        200,
        |instance, member, _| {
            fall_ill(instance, member);
            member.check.store(200, Ordering::SeqCst);
            eventually("it is well again", || known(instance)["healthy"] == true);
        },
        [true, true],
    ),
    ("draining", 200, |instance, _, _| drop(instance.ask("DRAIN_START", "1h")), [true, true]),
    ("drained", 200, |instance, _, _| drain(instance), [false, false]),
    (
        "drain taken back",
        200,
        |instance, _, _| {
            drain(instance);
            instance.expect("DRAIN_CANCEL", "", "DRAIN_OK");
        },
        [true, true],
    ),
    (
        "in maintenance",
        200,
        |instance, _, _| {
            instance.expect("MAINT_ENTER", "r1|", "ACK");
            assert_eq!(instance.client.pushed_line(), "MAINT_OK|r1");
        },
        [false, false],
    ),
    ("breaker open", 200, |instance, member, get| break_open(instance, member, get, "1h"), [false, false]),
    (
        "breaker open and its time over",
        200,
        |instance, member, get| {
            break_open(instance, member, get, "1ms");
            let opened = Instant::now();
            eventually("its time is over", || opened.elapsed() > Duration::from_millis(20));
        },
        [true, true],
    ),
];

fn fall_ill(instance: &mut Instance, member: &Member) {
    member.check.store(500, Ordering::SeqCst);
    eventually("it is ill", || known(instance)["healthy"] == false);
}

fn drain(instance: &mut Instance) {
    instance.ask("DRAIN_START", "1ms");
    eventually("the drain is over", || instance.payload("DRAIN_STATUS", "")["traffic_percent"] == 0);
}

fn break_open(instance: &mut Instance, member: &Member, get: &dyn Fn() -> u16, timeout: &str) {
    instance.set("CIRCUIT_BREAKER_SET", &format!("r1|1|{timeout}|1"));
    member.answer.store(500, Ordering::SeqCst);
    eventually("it has failed", || {
        get();
        instance.breaker() == "open"
    });
    member.answer.store(200, Ordering::SeqCst);
}

#[test]
fn a_member_takes_requests_exactly_where_explaining_says_so() {
    let harness = ServerHarness::open();
    for (number, (state, check, make, expected)) in STATES.into_iter().enumerate() {
        for (beside, expected) in [true, false].into_iter().zip(expected) {
            let (path, name) = (format!("/{number}-{beside}"), format!("shop-{number}-{beside}"));
            let (member, well) = (Member::new(check), Member::new(200));
            let _well = beside.then(|| {
                let mut other = staged(&harness, &format!("well-{number}"), &path, &well.backend.url(), CHECK_INTERVAL);
                other.apply();
                eventually("the other is well", || is_checked(&mut other));
                other
            });
            let interval = if check == 0 { "1m" } else { CHECK_INTERVAL };
            let mut instance = staged(&harness, &name, &path, &member.backend.url(), interval);
            instance.apply();
            eventually("its first check", || check == 0 || is_checked(&mut instance));
            make(&mut instance, &member, &|| harness.status(&path));

            let (outcome, told) = explained(&harness, &path, &name);
            let what = format!("{state}, beside a well one: {beside}: {told}");
            assert_eq!(told["takes_requests"], expected, "{what}");
            assert_eq!(in_short(&told), explained_over_grpc(&harness, &path, &name), "{what}");
            let listed = &harness.told(&format!("/v1/routes?instance=shop/{name}"))["items"][0];
            for key in ["healthy", "state", "in_maintenance", "traffic_percent", "last_failed_check"] {
                assert_eq!(listed[key]["reason"], told[key]["reason"], "{what} {listed}");
                assert!(told[key].is_object() || listed[key] == told[key], "{what} {listed}");
            }

            let before = member.requests();
            let served = |count: usize| (0..count).map(|_| harness.status(&path)).collect::<Vec<u16>>();
            if expected {
                eventually("it gets a request", || served(1) == [200] && member.requests() > before);
            } else {
                let status = if beside { 200 } else { 503 };
                assert_eq!((served(40), member.requests()), (vec![status; 40], before), "{what}");
            }
            assert_eq!(outcome == "forwarded", beside || expected, "{what} {outcome}");
            assert_eq!(outcome == "maintenance", !beside && state == "in maintenance", "{what} {outcome}");
        }
    }
}

#[test]
fn a_member_that_cannot_be_connected_to_is_told_passed_over_while_it_is() {
    let (harness, mortal, well) = (ServerHarness::open(), KillableBackend::named("mortal"), Member::new(200));
    let mut other = staged(&harness, "shop-1", "/", &well.backend.url(), "1m");
    other.apply();
    eventually("the other is well", || is_checked(&mut other));
    let mut instance = staged(&harness, "shop-2", "/", &mortal.url(), "1m");
    instance.apply();
    eventually("it is well", || is_checked(&mut instance));
    mortal.kill();
    let tried = |instance: &mut Instance| instance.payload("STATS_GET", "r1")["requests"].as_u64().unwrap();
    let takes = || explained(&harness, "/", "shop-2").1["takes_requests"] == true;
    // It is passed over for a second, then for two, then for four: at some time all of this falls into one such time.
    eventually("it is passed over, and told so", || {
        harness.status("/");
        let before = (takes(), tried(&mut instance));
        let statuses: Vec<u16> = (0..10).map(|_| harness.status("/")).collect();
        assert_eq!(statuses, [200; 10]);
        let after = (takes(), tried(&mut instance));
        before == after && !before.0
    });
    other.ask("DRAIN_START", "1ms");
    eventually("it alone is left", || takes() && harness.status("/") == 502);
}

#[test]
fn while_the_only_trial_is_under_way_a_member_takes_none_and_once_that_is_slow_another() {
    let (harness, member) = (ServerHarness::open(), Member::new(200));
    let mut instance = staged(&harness, "shop-1", "/", &member.backend.url(), "1m");
    instance.apply();
    break_open(&mut instance, &member, &|| harness.status("/"), "3s");
    let takes = || explained(&harness, "/", "shop-1").1["takes_requests"] == true;
    member.answer.store(0, Ordering::SeqCst);
    let (mut wires, before) = (Vec::new(), member.requests());
    eventually("a trial hangs", || {
        if !takes() {
            return member.requests() > before;
        }
        wires.push(harness.asking("a", "/"));
        false
    });
    assert_eq!(instance.breaker(), "half_open");
    member.answer.store(200, Ordering::SeqCst);
    let mut refused = false;
    eventually("another closes it", || {
        let (told, status) = (takes(), harness.status("/"));
        refused |= (told, status) == (false, 503);
        // Told so, it was so: its trial was slow by then.
        assert!(!told || status == 200, "{told} {status}");
        status == 200
    });
    assert!(refused && takes() && instance.breaker() == "closed");
}

#[test]
fn of_a_backend_or_breaker_that_is_only_staged_nothing_is_told_that_was_seen_before() {
    let (harness, member) = (ServerHarness::open(), Member::new(500));
    let mut instance = staged(&harness, "shop-1", "/", &member.backend.url(), "100ms");
    instance.set("HEALTH_SET", "r1|/|100ms|100ms");
    eventually("it is ill", || known(&mut instance)["healthy"] == false);
    let told = |target: &str| {
        let told = harness.told(&format!("/v1/explain?host=a&path=/{target}"));
        (told["outcome"].clone(), told["candidates"][0]["members"][0].clone())
    };
    assert_eq!(told("").0, "unavailable");
    let new = Backend::named("new");
    instance.ask("ROUTE_UPDATE", &format!("r1|backend_url|{}", new.url()));
    let (outcome, as_staged) = told("&staged=shop/shop-1");
    assert_eq!((&outcome, &as_staged["healthy"]), (&json!("forwarded"), &json!(true)), "{as_staged}");
    assert!(as_staged["last_check"].is_null() && as_staged["last_failed_check"].is_null(), "{as_staged}");
    assert_eq!(told("").0, "unavailable", "what is active is told as it is");

    instance.expect("CONFIG_ROLLBACK", "", "OK");
    member.check.store(200, Ordering::SeqCst);
    eventually("it is well", || known(&mut instance)["healthy"] == true);
    break_open(&mut instance, &member, &|| harness.status("/"), "1h");
    assert_eq!(told("").0, "unavailable");
    instance.expect("CIRCUIT_BREAKER_SET", "r1|9|1h|1", "CIRCUIT_OK");
    let (outcome, as_staged) = told("&staged=shop/shop-1");
    assert_eq!((&outcome, &as_staged["state"]), (&json!("forwarded"), &json!("closed")), "{as_staged}");
    instance.apply();
    assert_eq!(told("").0, "forwarded");
}
