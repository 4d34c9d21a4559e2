//! Upgrades: connections that change protocols.

use std::time::Duration;

use crate::support::backend::Backend;
use crate::support::proxy_harness::{ProxyHarness, until};
use crate::support::wire::Wire;

const ASK: &str = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-key: k\r\n\r\n";
const AGREE: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-accept: v\r\n\r\n";

/// Agrees to any upgrade, then sends back five bytes at a time until the client is done.
fn echo() -> Backend {
    Backend::hearing(|mut wire, tell| {
        tell(wire.head().unwrap());
        wire.send(AGREE);
        while let Some(bytes) = wire.exactly(5) {
            wire.send(bytes);
        }
        wire.send("bye");
    })
}

fn upgraded(harness: &ProxyHarness) -> Wire {
    let mut wire = harness.connect();
    wire.send(ASK);
    let answer = wire.head().unwrap();
    assert_eq!((answer.status(), answer.field("upgrade")), (101, Some("websocket")));
    assert_eq!(answer.field("sec-websocket-accept"), Some("v"));
    wire
}

#[test]
fn an_upgrade_becomes_a_tunnel_that_each_side_ends_for_itself() {
    let backend = echo();
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = upgraded(&harness);
    let heard = backend.heard();
    assert_eq!((heard.field("upgrade"), heard.field("sec-websocket-key")), (Some("websocket"), Some("k")));
    assert!(heard.field("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    for word in ["hello", "again"] {
        wire.send(word);
        assert_eq!(wire.exactly(5).unwrap(), word.as_bytes());
    }
    wire.half_close();
    assert_eq!(wire.exactly(3).unwrap(), b"bye");
    assert!(wire.has_ended());
}

#[test]
fn bytes_sent_right_behind_the_upgrade_are_not_lost() {
    let backend = echo();
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send(format!("{ASK}hello"));
    assert_eq!(wire.head().unwrap().status(), 101);
    assert_eq!(wire.exactly(5).unwrap(), b"hello");
}

#[test]
fn a_tunnel_is_in_flight_until_it_ends() {
    let backend = echo();
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &backend.url(), &[]);
    let wire = upgraded(&harness);
    assert_eq!(harness.table().in_flight(key), 1);
    drop(wire);
    until("the tunnel has ended", || harness.table().in_flight(key) == 0);
}

#[test]
fn an_upgrade_that_the_backend_refuses_is_an_ordinary_answer() {
    let backend = Backend::named("no");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    for _ in 0..2 {
        wire.send(ASK);
        assert_eq!(wire.message().unwrap().text(), "no");
    }
}

#[test]
fn a_route_without_websocket_refuses_upgrades() {
    let backend = echo();
    let harness = ProxyHarness::serving(&backend.url(), &[("websocket", "false")]);
    assert_eq!(harness.ask(ASK).status(), 403);
    assert_eq!(backend.connections(), 0);
}

#[test]
fn h2c_is_not_let_past_the_proxy() {
    let backend = Backend::named("plain");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let answer = harness.ask(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: x\r\n\r\n",
    );
    assert_eq!(answer.text(), "plain");
    let heard = backend.heard();
    assert_eq!((heard.field("upgrade"), heard.field("http2-settings")), (None, None));
}

#[test]
fn a_tunnel_outlives_changes_of_its_route() {
    let backend = echo();
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &backend.url(), &[]);
    let mut wire = upgraded(&harness);
    harness.route(key, 1, "*", "/", "http://127.0.0.1:1");
    wire.send("hello");
    assert_eq!(wire.exactly(5).unwrap(), b"hello");
}

#[test]
fn a_tunnel_is_cut_when_the_grace_is_over() {
    let backend = echo();
    let mut harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = upgraded(&harness);
    harness.stop(Duration::from_millis(10));
    assert!(wire.has_ended());
}

#[test]
fn an_http_1_0_client_changes_no_protocol() {
    let backend = Backend::named("plain");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    assert_eq!(harness.ask(ASK.replace("HTTP/1.1", "HTTP/1.0")).text(), "plain");
    assert_eq!(backend.heard().field("upgrade"), None);
}

#[test]
fn a_tunnel_ends_when_the_backend_takes_no_more() {
    let backend = Backend::new(|mut wire| {
        wire.head();
        wire.send(AGREE);
    });
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &backend.url(), &[]);
    let mut wire = upgraded(&harness);
    until("the tunnel has ended", || {
        wire.send("anybody there?");
        harness.table().in_flight(key) == 0
    });
}

/// The echo agrees as soon as it has the head, and sends the body of the request back like all that follows it.
#[test]
fn a_protocol_that_is_changed_before_the_whole_request_came_begins_where_the_request_ends() {
    let backend = echo();
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send(
        "POST /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 5\r\n\r\nhe",
    );
    backend.heard();
    wire.send("llo");
    assert_eq!(wire.head().unwrap().status(), 101);
    assert_eq!(wire.exactly(5).unwrap(), b"hello");
    wire.send("again");
    assert_eq!(wire.exactly(5).unwrap(), b"again");
}

#[test]
fn a_protocol_that_is_changed_before_the_body_was_asked_for_is_a_502_that_leaves_nothing_behind() {
    let backend = Backend::hearing(|mut wire, tell| {
        let head = wire.head().unwrap();
        wire.send(AGREE);
        if wire.has_ended() {
            tell(head);
        }
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    for asked in ["connection: upgrade\r\nupgrade: websocket\r\n", ""] {
        let answer = harness
            .ask(format!("POST / HTTP/1.1\r\nhost: a\r\n{asked}expect: 100-continue\r\ncontent-length: 5\r\n\r\n"));
        assert_eq!(answer.status(), 502);
        backend.heard();
    }
}
