//! After an apply, no event is about a breaker or backend that the apply replaced.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::server::eventually;
use crate::support::backend::Backend;
use crate::support::server_harness::{Gate, Instance, ServerHarness};

/// The lines of a change to `r1`, without the verb's session, and whether `r1` is there afterwards. `AWAY` is another backend's URL,
/// `HOME` the one that it has.
type Way = (&'static [&'static str], bool);

const TO_ANOTHER_BACKEND: Way = (&["ROUTE_UPDATE|r1|backend_url|AWAY", "CONFIG_APPLY"], true);
const BACKEND_THERE_AND_BACK: Way =
    (&["ROUTE_UPDATE|r1|backend_url|AWAY", "CONFIG_APPLY", "ROUTE_UPDATE|r1|backend_url|HOME", "CONFIG_APPLY"], true);
const GONE: Way = (&["ROUTE_REMOVE|r1", "CONFIG_APPLY"], false);
const GONE_AND_ADDED: Way = (&["ROUTE_REMOVE|r1", "CONFIG_APPLY", "ROUTE_ADD|*|/|HOME|0", "CONFIG_APPLY"], false);
const BREAKERS: [Way; 8] = [
    (&["CIRCUIT_BREAKER_SET|r1|1|2h|1", "CONFIG_APPLY"], true),
    (&["CIRCUIT_BREAKER_SET|r1|1|2h|1", "CONFIG_APPLY", "CIRCUIT_BREAKER_SET|r1|1|1h|1", "CONFIG_APPLY"], true),
    (&["CIRCUIT_BREAKER_REMOVE|r1", "CONFIG_APPLY"], true),
    (&["CIRCUIT_BREAKER_REMOVE|r1", "CONFIG_APPLY", "CIRCUIT_BREAKER_SET|r1|1|1h|1", "CONFIG_APPLY"], true),
    TO_ANOTHER_BACKEND,
    BACKEND_THERE_AND_BACK,
    GONE,
    GONE_AND_ADDED,
];
const BACKENDS: [Way; 4] = [TO_ANOTHER_BACKEND, BACKEND_THERE_AND_BACK, GONE, GONE_AND_ADDED];

const APPLIED: &str = "EVENT|config_applied|";

fn circuit(route: &str, state: &str) -> String {
    format!("EVENT|circuit_state_changed|{{\"route_id\":\"{route}\",\"state\":\"{state}\"}}")
}

/// A session with `r1` for `/` and `r2` for `/flag`, both with a breaker, that hears everything.
fn told_of_all(harness: &ServerHarness, backend: &Backend) -> Instance {
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/", &backend.url());
    instance.add("*", "/flag", &failing(&Gate::default()).url());
    for route in ["r1", "r2"] {
        instance.expect("CIRCUIT_BREAKER_SET", &format!("{route}|1|1h|1"), "CIRCUIT_OK");
    }
    instance.expect("SUBSCRIBE", "all", "SUBSCRIBE_OK");
    instance.apply();
    assert!(instance.client.pushed_line().starts_with(APPLIED));
    instance
}

/// Sends a change in one piece, reads what it answers, and gives the number of applies.
fn change(instance: &mut Instance, (lines, _): Way, home: &Backend, away: &Backend) -> usize {
    let session = instance.session.clone();
    let line = |line: &&str| {
        let (verb, rest) = line.split_once('|').unwrap_or((line, ""));
        let rest = rest.replace("HOME", &home.url()).replace("AWAY", &away.url());
        format!("{verb}|{session}{}{rest}\n", if rest.is_empty() { "" } else { "|" })
    };
    instance.client.writer.write_all(lines.iter().map(line).collect::<String>().as_bytes()).unwrap();
    for line in lines {
        let reply = instance.client.try_reply().unwrap();
        assert!(reply.split('|').next().is_some_and(|word| word.ends_with("OK")), "{line}: {reply}");
    }
    lines.iter().filter(|line| **line == "CONFIG_APPLY").count()
}

/// Returns the events up to a final marker event, so that all earlier events are included.
fn heard(harness: &ServerHarness, instance: &mut Instance) -> Vec<String> {
    assert_eq!(harness.status("/flag"), 500);
    let mut heard = Vec::new();
    while heard.last() != Some(&circuit("r2", "open")) {
        heard.push(instance.client.pushed_line());
    }
    heard.pop();
    heard
}

/// Is well by its checks and fails every request, those for `/slow` once the interface is open.
fn failing(gate: &Gate) -> Backend {
    let gate = gate.clone();
    Backend::hearing(move |mut wire, tell| {
        while let Some(request) = wire.message() {
            let is_check = request.field("user-agent") == Some("signalbox");
            if request.target() == "/slow" {
                tell(request);
                gate.wait();
            }
            let status = if is_check { 200 } else { 500 };
            wire.send(format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n"));
        }
    })
}

#[test]
fn a_breaker_that_opens_after_it_was_replaced_is_not_told() {
    for way in BREAKERS {
        let (harness, gate, away) = (ServerHarness::open(), Gate::default(), Backend::named("away"));
        let home = failing(&gate);
        let mut instance = told_of_all(&harness, &home);
        let mut wire = harness.asking("a", "/slow");
        home.heard();
        let applies = change(&mut instance, way, &home, &away);
        gate.open();
        assert_eq!(wire.message().unwrap().status(), 500, "{way:?}");
        let heard = heard(&harness, &mut instance);
        assert!(heard.len() == applies && heard.iter().all(|line| line.starts_with(APPLIED)), "{way:?}: {heard:?}");
        assert!(!way.1 || instance.breaker() == "closed", "{way:?}");
    }
}

#[test]
fn a_breaker_that_was_open_is_told_closed_once_it_is_replaced() {
    for way in BREAKERS {
        let (harness, away) = (ServerHarness::open(), Backend::named("away"));
        let home = failing(&Gate::default());
        let mut instance = told_of_all(&harness, &home);
        assert_eq!(harness.status("/"), 500);
        assert_eq!(instance.client.pushed_line(), circuit("r1", "open"));
        let applies = change(&mut instance, way, &home, &away);
        let mut heard = heard(&harness, &mut instance);
        assert!(heard.remove(0).starts_with(APPLIED), "{way:?}: {heard:?}");
        let closed = heard.iter().filter(|line| **line == circuit("r1", "closed")).count();
        assert_eq!((closed, heard.len() - closed), (usize::from(way.1), applies - 1), "{way:?}: {heard:?}");
        assert!(!way.1 || instance.breaker() == "closed", "{way:?}");
    }
}

/// Its first check waits behind the interface and fails, all others pass.
fn ill_at_first(gate: &Gate) -> Backend {
    let (gate, checks) = (gate.clone(), AtomicUsize::new(0));
    Backend::hearing(move |mut wire, tell| {
        while let Some(request) = wire.message() {
            let is_first = checks.fetch_add(1, Ordering::SeqCst) == 0;
            tell(request);
            if is_first {
                gate.wait();
            }
            let status = if is_first { 500 } else { 200 };
            wire.send(format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n"));
        }
    })
}

#[test]
fn a_check_that_fails_after_its_backend_was_replaced_is_not_told() {
    for way in BACKENDS {
        let (harness, gate, away) = (ServerHarness::open(), Gate::default(), Backend::named("away"));
        let home = ill_at_first(&gate);
        let mut instance = told_of_all(&harness, &home);
        home.checked();
        let applies = change(&mut instance, way, &home, &away);
        gate.open();
        let route = if way.1 { "r1" } else { "r2" };
        eventually("the route has been checked", || {
            !instance.payload("CIRCUIT_BREAKER_STATUS", route)["last_check"].is_null()
        });
        let heard = heard(&harness, &mut instance);
        assert!(heard.len() == applies && heard.iter().all(|line| line.starts_with(APPLIED)), "{way:?}: {heard:?}");
        let known = instance.payload("CIRCUIT_BREAKER_STATUS", route);
        assert!(known["healthy"] == true && known["last_failed_check"].is_null(), "{way:?}: {known}");
    }
}

#[test]
fn a_backend_that_was_ill_is_told_healthy_once_it_is_replaced() {
    for way in BACKENDS {
        let (harness, gate, away) = (ServerHarness::open(), Gate::default(), Backend::named("away"));
        gate.open();
        let home = ill_at_first(&gate);
        let mut instance = told_of_all(&harness, &home);
        assert!(instance.client.pushed_line().contains(r#""route_id":"r1","healthy":false,"reason":"status 500""#));
        let applies = change(&mut instance, way, &home, &away);
        let mut heard = heard(&harness, &mut instance);
        assert!(heard.remove(0).starts_with(APPLIED), "{way:?}: {heard:?}");
        let well =
            r#"EVENT|backend_health_changed|{"route_id":"r1","healthy":true,"reason":"the route has another backend"}"#;
        let told = heard.iter().filter(|line| *line == well).count();
        assert_eq!((told, heard.len() - told), (usize::from(way.1), applies - 1), "{way:?}: {heard:?}");
    }
}
