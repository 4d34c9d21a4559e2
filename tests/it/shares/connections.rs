//! Connections of the proxy: at the limit, idle ones make way, an address has a share, and unfinished heads are closed soon.

use std::time::Duration;

use super::connect_from;
use crate::support::backend::Backend;
use crate::support::proxy_harness::{ProxyHarness, until};
use crate::support::wire::Wire;

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

fn harness(backend: &Backend, change: impl FnOnce(&mut signalbox::proxy::ProxySettings)) -> ProxyHarness {
    let mut harness = ProxyHarness::with(change);
    harness.serve("shop", "shop-1", &backend.url(), &[]);
    harness
}

/// A connection that has been served and is idle.
fn idle(harness: &ProxyHarness) -> Wire {
    let mut wire = harness.connect();
    wire.send(GET);
    assert_eq!(wire.message().unwrap().status(), 200);
    wire
}

#[test]
fn at_the_limit_the_connection_that_was_idle_for_the_longest_makes_way() {
    let backend = Backend::named("b");
    let harness = harness(&backend, |settings| settings.connections_max = 3);
    let mut open: Vec<Wire> = Vec::new();
    for _ in 0..3 {
        open.push(idle(&harness));
        std::thread::sleep(Duration::from_millis(120));
    }
    assert_eq!(harness.get("a", "/").status(), 200, "a new one is served");
    assert!(open[0].has_ended(), "the oldest has ended");
}

#[test]
fn a_connection_with_an_answer_under_way_makes_way_for_nobody() {
    let backend = Backend::hearing(|mut wire, tell| {
        tell(wire.message().unwrap());
        wire.has_ended();
    });
    let harness = harness(&backend, |settings| settings.connections_max = 2);
    let mut open = [harness.connect(), harness.connect()];
    for wire in &mut open {
        wire.send(GET);
        backend.heard();
    }
    assert_eq!(harness.get("a", "/").status(), 503);
}

#[test]
fn half_a_head_holds_no_place_for_long_when_the_house_is_full() {
    let backend = Backend::named("b");
    let harness = harness(&backend, |settings| settings.connections_max = 2);
    let mut silent = harness.connect();
    // One of the two makes way, whichever worker has it.
    let mut half = harness.connect();
    half.send("GET / HTTP/1.1\r\nx: ");
    until("there is room", || harness.get("a", "/").status() == 200);
    assert!(silent.has_ended() || half.has_ended());
}

#[test]
fn an_address_has_a_share_and_others_are_served_beside_it() {
    let backend = Backend::hearing(|mut wire, tell| {
        while let Some(request) = wire.message() {
            let waits = request.target() == "/wait";
            tell(request);
            if waits {
                wire.has_ended();
                return;
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    let harness = harness(&backend, |settings| {
        settings.connections_max = 10;
        settings.address_connections_max = 3;
    });
    let mut greedy = [harness.connect(), harness.connect(), harness.connect()];
    for wire in &mut greedy {
        wire.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n");
        backend.heard();
    }
    assert_eq!(harness.get("a", "/").status(), 503, "its share is used up");
    let mut other = Wire::over(connect_from(2, harness.address()));
    other.send(GET);
    assert_eq!(other.message().unwrap().status(), 200, "another address has its own");
    greedy.into_iter().for_each(Wire::reset);
    until("its share is free again", || harness.get("a", "/").status() == 200);
}

#[test]
fn an_address_at_its_share_has_its_own_idle_connections_make_way() {
    let backend = Backend::named("b");
    let harness = harness(&backend, |settings| settings.address_connections_max = 2);
    let mut other = Wire::over(connect_from(2, harness.address()));
    other.send(GET);
    assert_eq!(other.message().unwrap().status(), 200);
    let mut first = idle(&harness);
    std::thread::sleep(Duration::from_millis(120));
    let _second = idle(&harness);
    assert_eq!(harness.get("a", "/").status(), 200);
    assert!(first.has_ended());
    other.send(GET);
    assert_eq!(other.message().unwrap().status(), 200, "that of another address was left alone");
}

#[test]
fn a_trusted_proxy_speaks_for_many_and_has_no_share() {
    let backend = Backend::named("b");
    let harness = harness(&backend, |settings| {
        settings.address_connections_max = 1;
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    let mut open = [idle(&harness), idle(&harness), idle(&harness)];
    for wire in &mut open {
        wire.send(GET);
        assert_eq!(wire.message().unwrap().status(), 200);
    }
}
