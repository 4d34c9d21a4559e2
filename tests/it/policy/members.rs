//! Members of a pool that die or become unhealthy.

use std::collections::HashMap;
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use signalbox::clock;
use signalbox::domain::{Edit, HealthCheck, HealthPath, RouteId, SessionKey, Span, Time};
use signalbox::traffic::ProbeResult;

use crate::support::backend::{Backend, KillableBackend};
use crate::support::proxy_harness::ProxyHarness;
use crate::support::server_harness::ServerHarness;
use crate::support::wire::Wire;

#[test]
fn no_request_fails_after_one_of_two_instances_was_killed() {
    let (harness, mortal, alive) = (ServerHarness::open(), KillableBackend::named("mortal"), Backend::named("alive"));
    let mut first = harness.empty("shop-1");
    first.add("*", "/", &mortal.url());
    first.apply();
    let _second = harness.instance("shop-2", &alive);
    let mut wires = [(); 8].map(|()| harness.connect());
    let mut get = |number: usize| {
        let wire = &mut wires[number % 8];
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = wire.message().expect("no answer");
        assert_eq!(answer.status(), 200, "request {number}");
        answer.text().to_owned()
    };
    let served = (0..200).filter(|number| get(*number) == "mortal").count();
    assert!(served > 0, "both served");
    mortal.kill();
    assert!((200..1200).all(|number| get(number) == "alive"));
}

/// Answers on every address of this machine with that address. Its port.
fn everywhere() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let name = socket.local_addr().unwrap().ip().to_string();
            thread::spawn(move || {
                let mut wire = Wire::over(socket);
                while wire.message().is_some() {
                    wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len()));
                }
            });
        }
    });
    port
}

#[test]
fn in_a_pool_of_a_thousand_all_are_asked_and_nobody_notices_that_some_are_killed() {
    const MEMBERS: usize = 1000;
    // Idle connections are not kept: the test would need more files than it may open.
    let mut harness = ProxyHarness::with(|settings| settings.pool_max = 0);
    let (port, mut mortals) = (everywhere(), Vec::new());
    for at in 0..MEMBERS {
        let url = if at % 20 == 7 {
            mortals.push(KillableBackend::named("mortal"));
            mortals[at / 20].url()
        } else {
            format!("http://{}:{port}", Ipv4Addr::from(0x7f01_0000 + u32::try_from(at).unwrap()))
        };
        harness.serve("shop", &format!("shop-{at}"), &url, &[("load_balancing", "round_robin")]);
    }
    let mut wire = harness.connect();
    let mut round = || {
        let mut served = HashMap::<String, usize>::new();
        for _ in 0..MEMBERS {
            wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let answer = wire.message().expect("no answer");
            assert_eq!(answer.status(), 200);
            *served.entry(answer.text().to_owned()).or_default() += 1;
        }
        served
    };
    let all = round();
    assert_eq!((all.len(), all["mortal"]), (1 + MEMBERS - mortals.len(), mortals.len()), "each was asked once");
    mortals.into_iter().for_each(KillableBackend::kill);
    for _ in 0..2 {
        let left = round();
        assert!(left.len() == all.len() - 1 && !left.contains_key("mortal"), "{} members", left.len());
    }
}

fn ill(harness: &ProxyHarness, key: SessionKey) {
    let table = harness.table();
    let health = &table.endpoint(key, RouteId(1)).unwrap().live.health;
    (0..3).for_each(|_| drop(health.record(ProbeResult::Failed("status 503"), Time(1))));
}

#[test]
fn an_ill_member_is_passed_over_but_not_the_last_by_the_default_check() {
    let backends = ["one", "two"].map(Backend::named);
    let mut harness = ProxyHarness::new();
    let keys = [0, 1].map(|at| harness.serve("shop", &format!("shop-{at}"), &backends[at].url(), &[]));
    ill(&harness, keys[0]);
    assert!((0..30).all(|_| harness.get("a", "/").text() == "two"));
    ill(&harness, keys[1]);
    assert!((0..30).all(|_| harness.get("a", "/").status() == 200));
}

#[test]
fn a_member_that_is_well_again_starts_with_a_tenth() {
    let backends = ["one", "two"].map(Backend::named);
    let mut harness = ProxyHarness::new();
    let keys = [0, 1].map(|at| harness.serve("shop", &format!("shop-{at}"), &backends[at].url(), &[]));
    ill(&harness, keys[0]);
    let table = harness.table();
    let health = &table.endpoint(keys[0], RouteId(1)).unwrap().live.health;
    // As if that were to come: so its share does not grow while the test runs.
    let soon = clock::now().after(Span::from_secs(3600));
    (0..2).for_each(|_| drop(health.record(ProbeResult::Passed, soon)));
    let mut wire = harness.connect();
    let ones = (0..1000).filter(|_| {
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        wire.message().unwrap().text() == "one"
    });
    let ones = ones.count();
    assert!((15..100).contains(&ones), "{ones} of 1000 instead of 50");
}

#[test]
fn members_that_are_ill_by_a_check_that_was_asked_for_get_nothing() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &backend.url(), &[]);
    ill(&harness, key);
    assert_eq!(harness.get("a", "/").status(), 200);
    let second = Span::from_secs(1);
    let check = HealthCheck { path: HealthPath::root(), interval: second, timeout: second };
    harness.apply(key, vec![Edit::Health(RouteId(1), Some(check))]);
    let refused = harness.get("a", "/");
    assert_eq!((refused.status(), refused.field("retry-after")), (503, Some("5")));
}
