//! Maintenance: what clients see, for which routes, and which members continue to serve.

use crate::server::eventually;
use crate::support::backend::Backend;
use crate::support::server_harness::{Instance, ServerHarness};
use crate::support::tls::{Certificate, TlsFront};
use crate::support::wire::Message;

fn enter(instance: &mut Instance, target: &str) {
    instance.expect("MAINT_ENTER", &format!("{target}|"), "ACK");
    assert_eq!(instance.client.pushed_line(), format!("MAINT_OK|{target}"));
}

fn leave(instance: &mut Instance, target: &str) {
    instance.expect("MAINT_EXIT", target, "ACK");
    assert_eq!(instance.client.pushed_line(), format!("MAINT_OK|{target}"));
}

fn is_maintenance(answer: &Message) -> bool {
    let fields = (answer.field("retry-after"), answer.field("x-maintenance-mode"));
    answer.status() == 503 && fields == (Some("300"), Some("true"))
}

#[test]
fn it_holds_for_the_routes_that_were_named_however_they_were_named() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.empty("shop-1");
    instance.add("a", "/", &backend.url());
    instance.add("a", "/admin", &backend.url());
    instance.add("b", "/", &backend.url());
    instance.apply();
    let places = [("a", "/"), ("a", "/admin"), ("b", "/")];
    for (target, expected) in [
        ("r1", [true, false, false]),
        ("r2,r3", [false, true, true]),
        ("/admin", [false, true, false]),
        ("/", [true, false, true]),
        ("b", [false, false, true]),
        ("ALL", [true, true, true]),
    ] {
        enter(&mut instance, target);
        assert_eq!(places.map(|(host, path)| is_maintenance(&harness.get_of(host, path))), expected, "{target}");
        leave(&mut instance, target);
        assert_eq!(places.map(|(host, path)| harness.get_of(host, path).status()), [200; 3], "after {target}");
    }
}

#[test]
fn all_covers_what_is_applied_later_and_one_route_can_leave() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.empty("shop-1");
    enter(&mut instance, "ALL");
    instance.add("*", "/", &backend.url());
    instance.add("*", "/later", &backend.url());
    instance.apply();
    assert!(is_maintenance(&harness.get("/")) && is_maintenance(&harness.get("/later")));
    leave(&mut instance, "r2");
    assert!(is_maintenance(&harness.get("/")));
    assert_eq!(harness.status("/later"), 200);
}

#[test]
fn other_members_serve_on_and_it_survives_a_restart() {
    let (mut harness, backends) = (ServerHarness::open(), ["one", "two"].map(Backend::named));
    let mut first = harness.instance("shop-1", &backends[0]);
    let mut second = harness.instance("shop-2", &backends[1]);
    enter(&mut first, "r1");
    assert!((0..30).all(|_| harness.get("/").text() == "two"));
    harness.restart();
    assert!((0..30).all(|_| harness.get("/").text() == "two"));
    harness.reconnect(&mut second);
    enter(&mut second, "ALL");
    assert!(is_maintenance(&harness.get("/")));
    harness.reconnect(&mut first);
    leave(&mut first, "r1");
    assert!((0..30).all(|_| harness.get("/").text() == "one"));
}

#[test]
fn it_is_told_of_when_no_other_member_can_serve_whatever_keeps_them_from_it() {
    let (harness, backends) = (ServerHarness::open(), ["one", "two"].map(Backend::named));
    let mut first = harness.instance("shop-1", &backends[0]);
    let mut second = harness.instance("shop-2", &backends[1]);
    second.ask("DRAIN_START", "1ms");
    eventually("the second is drained", || (0..30).all(|_| harness.get("/").text() == "one"));
    enter(&mut first, "r1");
    assert!(is_maintenance(&harness.get("/")));
    leave(&mut first, "r1");
    assert_eq!(harness.get("/").text(), "one");
}

#[test]
fn the_built_in_page_is_what_the_client_reads() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.instance("shop-1", &backend);
    enter(&mut instance, "ALL");
    let page = harness.get("/");
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.text().contains("The service is being worked on"), "{}", page.text());
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\naccept: application/json\r\ncontent-length: 2\r\n\r\nhi");
    let page = wire.message().unwrap();
    assert!(is_maintenance(&page) && page.field("content-type") == Some("application/problem+json"));
    assert!(backend.heard_nothing());
}

#[test]
fn leaving_follows_a_route_to_another_backend() {
    let (harness, well) = (ServerHarness::open(), Backend::named("b"));
    let ill = Backend::answering("HTTP/1.1 503 So\r\ncontent-length: 0\r\n\r\n");
    let mut instance = harness.instance("shop-1", &ill);
    instance.add("*", "/gone", &ill.url());
    instance.apply();
    enter(&mut instance, "ALL");
    instance.expect("MAINT_EXIT", "r1,r2", "ACK");
    instance.expect("ROUTE_REMOVE", "r2", "ROUTE_OK");
    instance.set("ROUTE_UPDATE", &format!("r1|backend_url|{}", well.url()));
    assert_eq!(instance.client.pushed_line(), "MAINT_OK|r1,r2");
    assert_eq!(harness.get("/").text(), "b");
}

#[test]
fn a_backend_whose_certificate_does_not_hold_keeps_its_route_in_maintenance_unless_the_route_does_not_care() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let front = TlsFront::before(backend.address(), &Certificate::self_signed("localhost"));
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/", &front.url("localhost"));
    instance.apply();
    enter(&mut instance, "r1");
    let tried = front.connections();
    instance.expect("MAINT_EXIT", "r1", "ACK");
    // One of them may be a health check.
    eventually("it was tried twice", || front.connections() >= tried + 3);
    assert!(is_maintenance(&harness.get("/")));
    instance.set("OPTIONS_SET", "r1|tls_verify|false");
    assert_eq!(instance.client.pushed_line(), "MAINT_OK|r1");
    assert_eq!(harness.get("/").text(), "b");
}
