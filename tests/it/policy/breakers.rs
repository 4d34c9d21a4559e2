//! Circuit breakers: when they open, which requests they let through, and their events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;

use crate::server::eventually;
use crate::support::backend::{Backend, closed_port};
use crate::support::server_harness::{Gate, Instance, ServerHarness, StatusBackend, gated};
use crate::support::wire::Wire;

fn breaking(harness: &ServerHarness, backend: &Backend, breaker: &str) -> Instance {
    let mut instance = harness.instance("shop-1", backend);
    instance.set("CIRCUIT_BREAKER_SET", &format!("r1|{breaker}"));
    instance
}

#[test]
fn it_opens_after_as_many_failures_as_said_for_all_workers_and_a_reset_closes_it() {
    let (harness, status_backend) = (ServerHarness::open(), StatusBackend::new(500));
    let mut instance = breaking(&harness, &status_backend.backend, "3|1h|1");
    assert_eq!([(); 3].map(|()| harness.status("/")), [500; 3]);
    for _ in 0..20 {
        let refused = harness.get("/");
        let retry: u32 = refused.field("retry-after").unwrap().parse().unwrap();
        assert!(refused.status() == 503 && (3500..=3600).contains(&retry), "{retry}");
    }
    assert_eq!(status_backend.heard(), 3, "whichever worker the connection came to");
    let status = instance.payload("CIRCUIT_BREAKER_STATUS", "r1");
    assert_eq!((&status["state"], &status["failures"]), (&"open".into(), &3.into()));
    assert!(status["last_failure"].is_string() && status["next_attempt"].is_string(), "{status}");

    instance.expect("CIRCUIT_BREAKER_RESET", "r1", "CIRCUIT_OK");
    let status = instance.payload("CIRCUIT_BREAKER_STATUS", "r1");
    assert_eq!((&status["state"], &status["failures"]), (&"closed".into(), &0.into()));
    assert!(status["next_attempt"].is_null(), "{status}");
    assert_eq!((harness.status("/"), status_backend.heard()), (500, 1));
}

#[test]
fn a_success_between_failures_keeps_it_closed() {
    let (harness, status_backend) = (ServerHarness::open(), StatusBackend::new(500));
    let mut instance = breaking(&harness, &status_backend.backend, "2|1h|1");
    for status in [500, 200, 500, 404, 500] {
        status_backend.set_status(status);
        assert_eq!(harness.status("/"), status);
    }
    assert_eq!(instance.breaker(), "closed");
    assert_eq!((harness.status("/"), harness.status("/")), (500, 503));
}

#[test]
fn its_session_is_told_of_every_change_and_trials_close_it() {
    let (harness, status_backend) = (ServerHarness::open(), StatusBackend::new(500));
    let mut instance = breaking(&harness, &status_backend.backend, "1|100ms|2");
    let mut other = harness.empty("shop-2");
    instance.expect("SUBSCRIBE", "circuit_state_changed", "SUBSCRIBE_OK");
    other.expect("SUBSCRIBE", "all", "SUBSCRIBE_OK");
    let told = |state| format!("EVENT|circuit_state_changed|{{\"route_id\":\"r1\",\"state\":\"{state}\"}}");

    assert_eq!(harness.status("/"), 500);
    assert_eq!(instance.client.pushed_line(), told("open"));
    eventually("a trial is let through, and fails", || harness.status("/") == 500);
    assert_eq!([(); 2].map(|()| instance.client.pushed_line()), ["half_open", "open"].map(told));

    status_backend.set_status(200);
    eventually("a trial is let through, and succeeds", || harness.status("/") == 200);
    assert_eq!(instance.client.pushed_line(), told("half_open"));
    let status = instance.payload("CIRCUIT_BREAKER_STATUS", "r1");
    assert_eq!((&status["state"], &status["successes"]), (&"half_open".into(), &1.into()));
    assert_eq!(harness.status("/"), 200);
    assert_eq!(instance.client.pushed_line(), told("closed"));
    assert_eq!(instance.breaker(), "closed");

    status_backend.set_status(500);
    assert_eq!(harness.status("/"), 500);
    instance.expect("CIRCUIT_BREAKER_RESET", "r1", "CIRCUIT_OK");
    assert_eq!([(); 2].map(|()| instance.client.pushed_line()), ["open", "closed"].map(told));
    other.expect("PING", "", "PONG");
    assert_eq!(other.client.told, [""; 0], "others hear nothing of it");
}

#[test]
fn exactly_as_many_trials_as_said_are_under_way_at_once() {
    let (harness, gate, status_backend) = (ServerHarness::open(), Gate::default(), Arc::new(AtomicU16::new(500)));
    let backend = gated(&gate, &status_backend);
    let mut instance = breaking(&harness, &backend, "1|100ms|2");
    assert_eq!(harness.status("/"), 500);
    status_backend.store(200, Ordering::SeqCst);
    thread::scope(|scope| {
        let trial = || loop {
            let status = harness.status("/");
            if status != 503 {
                return status;
            }
        };
        let trials = [scope.spawn(trial), scope.spawn(trial)];
        backend.heard();
        backend.heard();
        for _ in 0..20 {
            let refused = harness.get("/");
            assert_eq!((refused.status(), refused.field("retry-after")), (503, Some("1")));
        }
        assert!(backend.heard_nothing(), "two trials and no more");
        assert_eq!(instance.breaker(), "half_open");
        gate.open();
        assert_eq!(trials.map(|trial| trial.join().unwrap()), [200, 200]);
    });
    assert_eq!((instance.breaker().as_str(), harness.status("/")), ("closed", 200));
}

#[test]
fn a_trial_whose_client_goes_away_makes_room_for_another() {
    let (harness, gate, status_backend) = (ServerHarness::open(), Gate::default(), Arc::new(AtomicU16::new(500)));
    let backend = gated(&gate, &status_backend);
    let mut instance = breaking(&harness, &backend, "1|100ms|1");
    assert_eq!(harness.status("/"), 500);
    status_backend.store(200, Ordering::SeqCst);
    let mut wires = Vec::new();
    eventually("a trial is under way", || {
        wires.push(harness.asking("a", "/"));
        instance.breaker() == "half_open"
    });
    backend.heard();
    wires.into_iter().for_each(Wire::reset);
    eventually("nothing is under way", || instance.in_flight() == 0);
    gate.open();
    eventually("its place is free", || harness.status("/") == 200);
    assert_eq!(instance.breaker(), "closed");
}

/// Answers with the status it was last told, but what asks for `/slow` waits behind the interface and gets `late`.
fn slow_for_some(gate: &Gate, status_backend: &Arc<AtomicU16>, late: u16) -> Backend {
    let (gate, status_backend) = (gate.clone(), Arc::clone(status_backend));
    Backend::hearing(move |mut wire, tell| {
        while let Some(request) = wire.message() {
            let mut status = status_backend.load(Ordering::SeqCst);
            if request.target() == "/slow" {
                tell(request);
                gate.wait();
                status = late;
            }
            wire.send(format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n"));
        }
    })
}

#[test]
fn a_trial_that_outlasts_the_timeout_makes_room_for_others_and_counts_no_more() {
    for (trials, late) in [(1, 200), (1, 500), (2, 200), (2, 500)] {
        let (harness, gate, status_backend) = (ServerHarness::open(), Gate::default(), Arc::new(AtomicU16::new(500)));
        let backend = slow_for_some(&gate, &status_backend, late);
        let mut instance = breaking(&harness, &backend, &format!("1|100ms|{trials}"));
        assert_eq!(harness.status("/"), 500);
        status_backend.store(200, Ordering::SeqCst);
        let mut wires = Vec::new();
        eventually("a slow trial is under way", || {
            wires.push(harness.asking("a", "/slow"));
            instance.breaker() == "half_open"
        });
        backend.heard();
        eventually("other trials close it", || harness.status("/") == 200 && instance.breaker() == "closed");
        gate.open();
        let answers: Vec<u16> = wires.iter_mut().map(|wire| wire.message().unwrap().status()).collect();
        assert!(answers.contains(&late), "{answers:?}");
        assert_eq!((instance.breaker().as_str(), harness.status("/")), ("closed", 200), "{trials} trials, {late}");
    }
}

#[test]
fn its_state_stays_over_applies_that_do_not_touch_it() {
    let (harness, status_backend) = (ServerHarness::open(), StatusBackend::new(500));
    let mut instance = breaking(&harness, &status_backend.backend, "1|1h|1");
    assert_eq!((harness.status("/"), harness.status("/")), (500, 503));
    instance.set("HEADERS_SET", "ALL|X-A|1");
    instance.set("OPTIONS_SET", "r1|timeout|3s");
    instance.add("*", "/other", &status_backend.backend.url());
    instance.set("CIRCUIT_BREAKER_SET", "ALL|9|9s|9");
    assert_eq!((harness.status("/"), harness.status("/other")), (503, 500), "the route's own goes before that for all");
    instance.set("CIRCUIT_BREAKER_SET", "r1|2|1h|1");
    assert_eq!(harness.status("/"), 500, "a new one is closed");
}

#[test]
fn an_apply_that_makes_a_new_one_is_told_where_the_old_one_was_open() {
    let (harness, status_backend) = (ServerHarness::open(), StatusBackend::new(500));
    let mut instance = breaking(&harness, &status_backend.backend, "1|1h|1");
    instance.expect("SUBSCRIBE", "circuit_state_changed", "SUBSCRIBE_OK");
    let told = |state| format!("EVENT|circuit_state_changed|{{\"route_id\":\"r1\",\"state\":\"{state}\"}}");
    let changes = [
        ("CIRCUIT_BREAKER_SET", "r1|1|2h|1".to_owned()),
        ("ROUTE_UPDATE", format!("r1|backend_url|{}/other", status_backend.backend.url())),
    ];
    for (verb, rest) in changes {
        assert_eq!(harness.status("/"), 500);
        assert_eq!(instance.client.pushed_line(), told("open"));
        instance.set("HEADERS_SET", &format!("ALL|X-A|{verb}"));
        instance.set(verb, &rest);
        assert_eq!(instance.client.pushed_line(), told("closed"), "by {verb}, and not before");
        assert_eq!(instance.breaker(), "closed");
    }
}

#[test]
fn no_connection_no_answer_and_half_a_head_are_failures() {
    let harness = ServerHarness::open();
    let silent = Backend::new(|mut wire| while wire.message().is_some() {});
    let broken = Backend::new(|mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-le");
    });
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/dead", &format!("http://{}", closed_port()));
    instance.add("*", "/silent", &silent.url());
    instance.add("*", "/broken", &broken.url());
    instance.expect("CIRCUIT_BREAKER_SET", "ALL|2|1h|1", "CIRCUIT_OK");
    instance.set("OPTIONS_SET", "ALL|timeout|50ms");
    for (path, status) in [("/dead", 502), ("/silent", 504), ("/broken", 502)] {
        assert_eq!([(); 3].map(|()| harness.status(path)), [status, status, 503], "{path}");
    }
}

#[test]
fn another_member_serves_while_one_is_open() {
    let (harness, ill, well) = (ServerHarness::open(), StatusBackend::new(200), Backend::named("well"));
    let mut first = breaking(&harness, &ill.backend, "1|1h|1");
    let _second = harness.instance("shop-2", &well);
    // One that is ill by its first check gets no request while another is well.
    eventually("it is well", || !first.payload("CIRCUIT_BREAKER_STATUS", "r1")["last_check"].is_null());
    ill.set_status(500);
    eventually("the ill one has had its request", || harness.status("/") == 500);
    assert!((0..50).all(|_| harness.get("/").text() == "well"));
    assert_eq!((first.breaker().as_str(), ill.heard()), ("open", 1));
}
