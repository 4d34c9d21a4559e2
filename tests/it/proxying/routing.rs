//! Routing: which backend gets a request, and which path and host it receives.

use signalbox::domain::{Change, RouteId, Target};
use signalbox::proxy::UnmatchedPolicy;

use crate::support::backend::Backend;
use crate::support::proxy_harness::{ProxyHarness, option};

#[test]
fn the_most_specific_host_and_the_longest_path_win() {
    let [exact, api, below, any] = ["exact", "api", "below", "any"].map(Backend::named);
    let mut harness = ProxyHarness::new();
    let key = harness.session("shop", "shop-1");
    harness.route(key, 1, "a.shop.example", "/x", &exact.url());
    harness.route(key, 2, "a.shop.example", "/x/api", &api.url());
    harness.route(key, 3, "*.shop.example", "/", &below.url());
    harness.route(key, 4, "*", "/", &any.url());
    let reached = |host, path| harness.get(host, path).text().to_owned();
    assert_eq!(reached("a.shop.example", "/x"), "exact");
    assert_eq!(reached("A.Shop.Example:8080", "/x/apis"), "exact");
    assert_eq!(reached("a.shop.example", "/x/api/1?q"), "api");
    assert_eq!(reached("a.shop.example", "/y"), "below", "no path of the exact host: the wildcard is next");
    assert_eq!(reached("b.c.shop.example", "/"), "below");
    assert_eq!(reached("shop.example", "/"), "any");
}

#[test]
fn without_a_route_there_is_a_page_in_the_form_the_client_takes() {
    let harness = ProxyHarness::new();
    let page = harness.get("a", "/");
    assert_eq!((page.status(), page.field("content-type")), (404, Some("text/html; charset=utf-8")));
    let problem = harness.ask("GET / HTTP/1.1\r\nhost: a\r\naccept: application/json\r\n\r\n");
    assert_eq!((problem.status(), problem.field("content-type")), (404, Some("application/problem+json")));
    assert!(problem.text().contains("\"status\":404"));
}

#[test]
fn without_a_route_the_connection_closes_if_so_configured() {
    let harness = ProxyHarness::with(|settings| settings.unmatched = UnmatchedPolicy::Close);
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(wire.message().is_none());
}

#[test]
fn a_change_serves_on_the_connections_that_are_open() {
    let [first, second] = ["first", "second"].map(Backend::named);
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &first.url(), &[]);
    let mut wire = harness.connect();
    let mut ask = || {
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        wire.message().unwrap()
    };
    assert_eq!(ask().text(), "first");
    harness.route(key, 1, "*", "/", &second.url());
    assert_eq!(ask().text(), "second");
    harness.change(&Change::End(key));
    assert_eq!(ask().status(), 404);
}

#[test]
fn a_prefix_is_stripped_and_a_base_put_before() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::new();
    let key = harness.session("shop", "shop-1");
    harness.route(key, 1, "*", "/api", &format!("{}/app/", backend.url()));
    harness.get("a", "/api/x?q=1");
    assert_eq!(backend.heard().target(), "/app/api/x?q=1");
    harness.apply(key, vec![option(Target::Route(RouteId(1)), "strip_prefix", "true")]);
    harness.get("a", "/api/x?q=1");
    assert_eq!(backend.heard().target(), "/app/x?q=1");
    harness.get("a", "/api");
    assert_eq!(backend.heard().target(), "/app/");
}

#[test]
fn members_of_a_pool_share_its_requests() {
    let [a, b] = ["a", "b"].map(Backend::named);
    let mut harness = ProxyHarness::new();
    harness.serve("shop", "shop-1", &a.url(), &[("load_balancing", "round_robin")]);
    harness.serve("shop", "shop-2", &b.url(), &[]);
    let answers: Vec<String> = (0..4).map(|_| harness.get("x", "/").text().to_owned()).collect();
    assert_eq!(answers, ["a", "b", "a", "b"]);
}

#[test]
fn a_client_stays_with_its_member() {
    let [a, b] = ["a", "b"].map(Backend::named);
    let mut harness = ProxyHarness::new();
    harness.serve("shop", "shop-1", &a.url(), &[("load_balancing", "client_ip")]);
    harness.serve("shop", "shop-2", &b.url(), &[]);
    let first = harness.get("x", "/").text().to_owned();
    assert!((0..8).all(|_| harness.get("x", "/").text() == first));
}

#[test]
fn requests_that_passed_are_counted() {
    let backend = Backend::named("hello");
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &backend.url(), &[]);
    harness.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc");
    crate::support::proxy_harness::until("the request is counted", || {
        harness.table().stats(key, RouteId(1)).requests == 1
    });
    let numbers = harness.table().stats(key, RouteId(1));
    assert_eq!((numbers.bytes_received, numbers.bytes_sent, numbers.errors, numbers.in_flight), (3, 5, 0, 0));
    assert_eq!(numbers.status_codes.get(&200), Some(&1));
}
