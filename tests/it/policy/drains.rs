//! Drain: which members serve meanwhile, and that nothing is cut.

use std::sync::Arc;

use signalbox::clock;
use signalbox::domain::{Change, Drain, SessionKey, SessionRecord, Span};

use crate::server::eventually;
use crate::support::backend::Backend;
use crate::support::proxy_harness::ProxyHarness;
use crate::support::server_harness::{Gate, Instance, ServerHarness, echo};

/// Drains to the end.
fn drain(instance: &mut Instance) {
    let reply = instance.ask("DRAIN_START", "1ms");
    assert!(reply.starts_with("DRAIN_OK|20"), "{reply}");
    eventually("the drain is over", || instance.payload("DRAIN_STATUS", "")["traffic_percent"].as_f64() == Some(0.0));
}

#[test]
fn a_lone_member_serves_to_the_end_and_again_when_the_drain_is_taken_back() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.instance("shop-1", &backend);
    assert!(instance.ask("DRAIN_START", "1h").starts_with("DRAIN_OK|20"));
    assert!((0..20).all(|_| harness.status("/") == 200));
    drain(&mut instance);
    let refused = harness.get("/");
    assert_eq!((refused.status(), refused.field("retry-after")), (503, Some("5")));
    instance.expect("DRAIN_CANCEL", "", "DRAIN_OK");
    assert_eq!(harness.status("/"), 200);
}

#[test]
fn the_other_member_takes_all_and_a_restart_does_not_undo_it() {
    let (mut harness, backends) = (ServerHarness::open(), ["one", "two"].map(Backend::named));
    let mut first = harness.instance("shop-1", &backends[0]);
    let _second = harness.instance("shop-2", &backends[1]);
    eventually("the first one serves", || harness.get("/").text() == "one");
    first.expect("SUBSCRIBE", "drain_completed", "SUBSCRIBE_OK");
    drain(&mut first);
    assert_eq!(first.client.pushed_line(), "EVENT|drain_completed|{}");
    assert!((0..50).all(|_| harness.get("/").text() == "two"));
    harness.restart();
    assert!((0..50).all(|_| harness.get("/").text() == "two"));
    harness.reconnect(&mut first);
    first.expect("DRAIN_CANCEL", "", "DRAIN_OK");
    eventually("the first one serves again", || harness.get("/").text() == "one");
}

#[test]
fn half_way_through_a_member_has_half_of_its_share() {
    let backends = ["one", "two"].map(Backend::named);
    let mut harness = ProxyHarness::new();
    let first = harness.serve("shop", "shop-1", &backends[0].url(), &[]);
    harness.serve("shop", "shop-2", &backends[1].url(), &[]);
    drain_since(&mut harness, first, Span::from_secs(12 * 3600), Span::from_secs(24 * 3600));
    let mut wire = harness.connect();
    let ones = (0..1000).filter(|_| {
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        wire.message().unwrap().text() == "one"
    });
    let ones = ones.count();
    assert!((150..350).contains(&ones), "{ones} of 1000 instead of 250");
}

/// As if the drain had begun `ago`.
fn drain_since(harness: &mut ProxyHarness, key: SessionKey, ago: Span, span: Span) {
    let started = signalbox::domain::Time(clock::now().0 - ago.millis());
    let mut head = SessionRecord::clone(&harness.head(key));
    head.drain = Some(Drain { started, span, by_operator: false });
    harness.change(&Change::Record(key, Arc::new(head)));
}

#[test]
fn tunnels_are_counted_and_not_cut() {
    let (harness, backend) = (ServerHarness::open(), echo());
    let mut instance = harness.instance("shop-1", &backend);
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(wire.head().unwrap().status(), 101);
    drain(&mut instance);
    assert_eq!(instance.payload("DRAIN_STATUS", "")["in_flight"], 1);
    assert_eq!(harness.status("/"), 503);
    wire.send("hello");
    assert_eq!(wire.exactly(5).unwrap(), b"hello");
    drop(wire);
    eventually("the tunnel has ended", || instance.payload("DRAIN_STATUS", "")["in_flight"] == 0);
}

/// Sends the second half of its answer when the interface is opened.
fn halting(gate: &Gate) -> Backend {
    let wait = gate.clone();
    Backend::new(move |mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello");
        wait.wait();
        wire.send("world");
    })
}

#[test]
fn downloads_that_an_apply_left_behind_are_counted_too() {
    let (harness, gate) = (ServerHarness::open(), Gate::default());
    let (backend, other) = (halting(&gate), Backend::named("b"));
    let mut instance = harness.instance("shop-1", &backend);
    instance.add("*", "/gone", &backend.url());
    instance.apply();
    let mut wires = ["/", "/gone"].map(|path| harness.asking("a", path));
    wires.iter_mut().for_each(|wire| drop(wire.head().unwrap()));
    drain(&mut instance);
    instance.expect("ROUTE_REMOVE", "r2", "ROUTE_OK");
    instance.set("ROUTE_UPDATE", &format!("r1|backend_url|{}", other.url()));
    instance.set("HEADERS_SET", "ALL|X-A|1");
    assert_eq!(instance.payload("DRAIN_STATUS", "")["in_flight"], 2);
    gate.open();
    assert_eq!(wires.each_mut().map(|wire| wire.exactly(10).unwrap()), [b"helloworld", b"helloworld"]);
    eventually("they have ended", || instance.payload("DRAIN_STATUS", "")["in_flight"] == 0);
}

#[test]
fn downloads_are_counted_and_not_cut() {
    let (harness, gate) = (ServerHarness::open(), Gate::default());
    let backend = halting(&gate);
    let mut instance = harness.instance("shop-1", &backend);
    let mut wire = harness.asking("a", "/");
    wire.head().unwrap();
    assert_eq!(wire.exactly(5).unwrap(), b"hello");
    drain(&mut instance);
    assert_eq!(instance.payload("DRAIN_STATUS", "")["in_flight"], 1);
    gate.open();
    assert_eq!(wire.exactly(5).unwrap(), b"world");
    eventually("it has ended", || instance.payload("DRAIN_STATUS", "")["in_flight"] == 0);
}
