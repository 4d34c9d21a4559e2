//! The number of series depends on the catalog, and on nothing that clients send.

use std::fmt::Write as _;

use super::exposition::{Exposition, OPEN_METRICS, scrape, scrape_as};
use crate::server::{Client, eventually};
use crate::support::backend::Backend;
use crate::support::server_harness::ServerHarness;
use crate::support::wire::Wire;

/// Registers an instance with so many routes, each with a host of its own, and applies them.
fn with_routes(client: &mut Client, instance: &str, count: usize, backend: &str) -> String {
    let session = client.register("crowd", instance);
    for first in (0..count).step_by(500) {
        let mut routes = String::new();
        for number in first..count.min(first + 500) {
            let comma = if number > first { "," } else { "" };
            let host = format!("{instance}-{number}.example");
            write!(routes, r#"{comma}{{"domains":["{host}"],"path":"/","backend_url":"{backend}"}}"#).unwrap();
        }
        let reply = client.ask(&format!("ROUTE_ADD_BULK|{session}|[{routes}]"));
        assert!(reply.starts_with("ROUTE_BULK_OK|"), "{reply}");
    }
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    session
}

/// Returns the series, without those that stay for as long as the server knows a verb, an outcome or a protocol.
fn names(told: &Exposition) -> Vec<&String> {
    let stays = |name: &&String| !name.starts_with("signalbox_commands_total{") && !name.contains("protocol=");
    told.series.keys().filter(stays).collect()
}

fn come_and_go(rounds: usize, count: usize) {
    let harness = ServerHarness::open();
    let backend = Backend::named("b");
    let _stays = harness.instance("shop-1", &backend);
    assert_eq!(harness.status("/"), 200);
    let api = harness.server().api;
    eventually("it is counted", || scrape(api).count("signalbox_requests_total") == 1);
    eventually("it is checked", || scrape(api).count("signalbox_backend_healthy") == 1);
    let base = scrape(api);
    for round in 0..rounds {
        let instance = format!("crowd-{round}");
        let mut client = harness.server().connect();
        let session = with_routes(&mut client, &instance, count, &backend.url());
        for number in 0..20 {
            assert_eq!(harness.get_of(&format!("{instance}-{number}.example"), "/").status(), 200);
        }
        eventually("all are counted", || scrape(api).count("signalbox_requests_total") == 21);
        let told = scrape(api);
        assert_eq!(told.number("signalbox_routes"), count as u64 + 1);
        assert_eq!(told.count("signalbox_requests_in_flight"), 21, "routes without requests have no such series");
        assert_eq!(client.ask(&format!("CLIENT_SHUTDOWN|{session}")), "SHUTDOWN_OK");
    }
    eventually("the base is all that is left", || names(&scrape(api)) == names(&base));
}

#[test]
fn the_series_of_routes_go_away_with_them() {
    come_and_go(2, 1_000);
}

#[test]
#[ignore = "storm: 10,000 routes in and out, several times"]
fn storm_of_10_000_routes_in_and_out_leaves_the_base() {
    come_and_go(3, 10_000);
}

fn hosts_and_methods(count: usize) {
    let harness = ServerHarness::open();
    let _instance = harness.instance("shop-1", &Backend::named("b"));
    let api = harness.server().api;
    let ask = |wire: &mut Wire, number: usize| {
        wire.send(format!(
            "M{number} /p{number}?q={number} HTTP/1.1\r\nhost: h{number}.example\r\nuser-agent: u{number}\r\n\r\n"
        ));
        assert_eq!(wire.message().unwrap().status(), 200);
    };
    let mut wire = harness.connect();
    ask(&mut wire, 0);
    eventually("it is counted", || scrape(api).count("signalbox_requests_total") == 1);
    eventually("it is checked", || scrape(api).count("signalbox_backend_healthy") == 1);
    let base = scrape(api);
    for number in 1..count {
        ask(&mut wire, number);
    }
    let other = r#"signalbox_requests_total{service="shop",instance="shop-1",route="r1",method="_OTHER",code="200"}"#;
    eventually("all are counted", || scrape(api).number(other) == count as u64);
    assert_eq!(names(&scrape(api)), names(&base));
}

#[test]
fn hosts_paths_and_methods_of_clients_make_no_series() {
    hosts_and_methods(1_000);
}

#[test]
#[ignore = "storm: 100,000 hosts, paths and methods"]
fn storm_of_100_000_hosts_makes_no_series() {
    hosts_and_methods(100_000);
}

#[test]
fn names_with_quotes_and_backslashes_are_read_as_they_are() {
    let harness = ServerHarness::open();
    let mut client = harness.server().connect();
    let (service, instance) = (r#"a"b\c{d}="#, r"\n\\,größe=");
    let session = client.register(service, instance);
    client.serve(&session, "names.example", "/", Backend::named("b").address());
    let api = harness.server().api;
    for fields in ["", OPEN_METRICS] {
        let told = scrape_as(api, fields);
        let is_it = |labels: &Vec<(String, String)>| {
            labels.len() == 2 && labels[0] == ("service".into(), service.into()) && labels[1].1 == instance
        };
        assert_eq!(told.labels.iter().filter(|labels| is_it(labels)).count(), 3, "{:?}", told.labels);
    }
}
