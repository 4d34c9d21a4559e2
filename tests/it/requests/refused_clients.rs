//! Clients that are refused before their request is read, or while it is: each hears an id that tells operators why.

use std::time::Duration;

use super::told_of;
use crate::server::{Server, eventually};
use crate::support::backend::Backend;
use crate::support::server_harness::ServerHarness;
use crate::support::tls::Authority;
use crate::support::wire::{Message, Wire};

/// Checks what operators and metrics tell of an answer.
fn check(harness: &ServerHarness, answer: &Message, (status, reason, error): (u16, &str, &str)) {
    assert_eq!(answer.status(), status, "{answer:?}");
    assert_eq!(answer.field("retry-after").is_some(), status == 503, "{answer:?}");
    let told = told_of(harness, answer, error);
    assert_eq!((&told["reason"], &told["status"]), (&reason.into(), &status.into()));
    assert_eq!((&told["client"], &told["scheme"]), (&"127.0.0.1".into(), &"http".into()));
    let metrics = metrics(harness.server());
    let series = format!(r#"signalbox_refusals_total{{service="",instance="",route="",reason="{reason}"}}"#);
    assert!(metrics.contains(&series), "{metrics}");
}

fn metrics(server: &Server) -> String {
    let mut scrape = Wire::connect(server.api);
    scrape.send("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n");
    scrape.message().unwrap().text().to_owned()
}

#[test]
fn a_client_for_which_there_is_no_room_hears_an_id() {
    let harness = ServerHarness::with(&["--proxy-connections-max", "1"]);
    // Its request is under way, so that it makes way for nobody.
    let backend = Backend::hearing(|mut wire, tell| {
        tell(wire.message().unwrap());
        wire.has_ended();
    });
    harness.instance("shop-1", &backend);
    let mut first = harness.connect();
    first.send("GET /held HTTP/1.1\r\nhost: a\r\n\r\n");
    // Checks ask for something else.
    while backend.heard().target() != "/held" {}
    let refused = harness.connect().message();
    check(&harness, &refused.unwrap(), (503, "too_many_connections", "proxy_internal_error"));
}

#[test]
fn a_client_for_whose_request_there_is_no_memory_hears_an_id() {
    let harness = ServerHarness::with(&["--limits-memory", "1MiB"]);
    let head = format!("POST /long HTTP/1.1\r\nhost: a\r\nx: {}", "x".repeat(60_000));
    // More than there is memory for.
    let mut open: Vec<Wire> = (0..30).map(|_| harness.connect()).collect();
    for wire in &mut open {
        wire.send(&head);
        wire.socket().set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    }
    let mut refused = None;
    eventually("one is refused", || {
        refused = open.iter_mut().find_map(Wire::message);
        refused.is_some()
    });
    let refused = refused.unwrap();
    check(&harness, &refused, (503, "no_memory", "proxy_internal_error"));
    let id = refused.field("x-request-id").unwrap();
    let told = harness.told(&format!("/v1/requests/{id}"));
    assert_eq!((&told["method"], &told["path"]), (&"POST".into(), &"/long".into()));
}

#[test]
fn a_client_that_speaks_http_to_the_port_of_https_hears_an_id() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let own = authority.issue_all(&["a.example"]);
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("cert"), &own.cert).unwrap();
    std::fs::write(at("key"), &own.key).unwrap();
    let file =
        format!("[proxy]\nhttps = \"127.0.0.1:0\"\n[[tls]]\ncert = \"{}\"\nkey = \"{}\"\n", at("cert"), at("key"));
    std::fs::write(at("signalbox.toml"), file).unwrap();
    let harness = ServerHarness::with(&["--config", &at("signalbox.toml")]);
    let mut wire = Wire::connect(harness.server().https.unwrap());
    wire.send("GET / HTTP/1.1\r\nhost: a.example\r\n\r\n");
    check(&harness, &wire.message().unwrap(), (400, "plain_http", "http_request_error"));
}
