//! Metrics tell what happened.

use std::net::SocketAddr;

use super::exposition::{OPEN_METRICS, scrape, scrape_as};
use crate::server::eventually;
use crate::support::backend::{Backend, KillableBackend};
use crate::support::server_harness::ServerHarness;
use crate::support::wire::Wire;

/// A backend that answers with the status that the path names.
fn backend() -> Backend {
    Backend::new(|mut wire| {
        while let Some(request) = wire.message() {
            let status = request.target().trim_start_matches('/').parse().unwrap_or(200);
            wire.send(format!("HTTP/1.1 {status} Told\r\ncontent-length: 10\r\n\r\n0123456789"));
        }
    })
}

#[test]
fn requests_are_counted_by_route_method_and_code_whichever_worker_carried_them() {
    let harness = ServerHarness::open();
    let _instance = harness.instance("shop-1", &backend());
    for (method, path, body) in
        [("GET", "/200", ""), ("GET", "/200", ""), ("GET", "/404", ""), ("POST", "/500", "abc"), ("BREW", "/200", "")]
    {
        let mut wire = harness.connect();
        wire.send(format!("{method} {path} HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        assert_eq!(wire.message().unwrap().status(), path[1..].parse::<u16>().unwrap());
    }
    let route = r#"service="shop",instance="shop-1",route="r1""#;
    let count = format!("signalbox_request_duration_seconds_count{{{route}}}");
    // A request is counted when its last byte is on its way, which the client may see first.
    eventually("all are counted", || scrape(harness.server().api).number(&count) == 5);
    for fields in ["", OPEN_METRICS] {
        let told = scrape_as(harness.server().api, fields);
        for (method, code, number) in [("GET", 200, 2), ("GET", 404, 1), ("POST", 500, 1), ("_OTHER", 200, 1)] {
            let series = format!(r#"signalbox_requests_total{{{route},method="{method}",code="{code}"}}"#);
            assert_eq!(told.number(&series), number, "{series}");
        }
        assert_eq!(told.count("signalbox_requests_total"), 4);
        let value = |name: &str| told.number(&format!("{name}{{{route}}}"));
        assert_eq!(value("signalbox_request_body_bytes_total"), 3);
        assert_eq!(value("signalbox_response_body_bytes_total"), 50);
        assert_eq!(value("signalbox_requests_in_flight"), 0);
        let buckets = told.count("signalbox_request_duration_seconds_bucket");
        assert_eq!(buckets, 15, "the bounds of OpenTelemetry, and one bucket above");
        // The formats do not have the labels in the same order.
        let is_last =
            |series: &&String| series.contains("_duration_seconds_bucket{") && series.contains(r#"le="+Inf""#);
        let all =
            told.series.keys().filter(is_last).filter(|series| series.contains("r1")).map(|series| told.number(series));
        assert_eq!(all.collect::<Vec<_>>(), [5]);
        let sum = told.value(&format!("signalbox_request_duration_seconds_sum{{{route}}}"));
        assert!(sum > 0.0 && sum < 60.0, "{sum}");
    }
}

#[test]
fn refusals_are_counted_by_reason_with_their_route_if_there_is_one() {
    let harness = ServerHarness::open();
    let mut instance = harness.empty("shop-1");
    instance.add("limited.example", "/", &Backend::named("b").url());
    instance.set("RATELIMIT_SET", "r1|1|1m");
    let status = |host: &str| harness.get_of(host, "/").status();
    assert_eq!([status("limited.example"), status("limited.example"), status("limited.example")], [200, 429, 429]);
    assert_eq!(status("unknown.example"), 404);
    let told = scrape(harness.server().api);
    let limited = r#"signalbox_refusals_total{service="shop",instance="shop-1",route="r1",reason="#;
    let reasons: Vec<_> = told.series.iter().filter(|(series, _)| series.starts_with("signalbox_refusals")).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    let counted =
        |begin: &str, number: &str| reasons.iter().any(|(series, count)| series.starts_with(begin) && *count == number);
    assert!(counted(limited, "2"), "{reasons:?}");
    let nowhere = r#"signalbox_refusals_total{service="",instance="",route="",reason="#;
    assert!(counted(nowhere, "1"), "{reasons:?}");
}

#[test]
fn health_breakers_drains_and_maintenance_are_told_with_their_state() {
    let harness = ServerHarness::open();
    let mut instance = harness.instance("shop-1", &backend());
    instance.set("CIRCUIT_BREAKER_SET", "r1|1|1m|1");
    let api = harness.server().api;
    let route = r#"service="shop",instance="shop-1",route="r1""#;
    eventually("it is healthy", || scrape(api).number(&format!("signalbox_backend_healthy{{{route}}}")) == 1);
    let open = format!(r#"signalbox_breaker_state{{{route},state="open"}}"#);
    assert_eq!(scrape(api).series.get(&open).map(String::as_str), Some("0"));
    assert_eq!(harness.status("/500"), 500);
    eventually("the breaker is open", || scrape(api).number(&open) == 1);
    assert_eq!(scrape(api).number(&format!(r#"signalbox_breaker_state{{{route},state="closed"}}"#)), 0);

    let of_instance = |name: &str| scrape(api).value(&format!(r#"{name}{{service="shop",instance="shop-1"}}"#));
    assert!(of_instance("signalbox_instance_traffic_ratio") > 0.99);
    assert_eq!(harness.operate("PUT", "/v1/instances/shop/shop-1/drain", r#"{"duration":"1s"}"#), 200);
    eventually("it is drained", || of_instance("signalbox_instance_traffic_ratio") < 0.01);
    assert!(of_instance("signalbox_instance_routes_in_maintenance") < 0.5);
    assert_eq!(harness.operate("PUT", "/v1/instances/shop/shop-1/maintenance", ""), 202);
    assert!(of_instance("signalbox_instance_routes_in_maintenance") > 0.5);
    assert!(of_instance("signalbox_instance_routes") > 0.5);
}

/// Sends a request of a session and returns the status.
fn call(api: SocketAddr, session: &str, request: &str, body: &str) -> u16 {
    let (mut wire, length) = (Wire::connect(api), body.len());
    wire.send(format!(
        "{request} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {session}\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    ));
    wire.message().expect("the API answers").status()
}

#[test]
fn every_call_is_counted_once_by_its_verb_whichever_interface_refuses_or_answers_it() {
    let harness = ServerHarness::open();
    let mut instance = harness.instance("shop-1", &backend());
    let (api, session) = (harness.server().api, instance.session.clone());
    // On the pipe: before the writer, by the writer, and not understood at all.
    for refused in ["ROUTE_ADD|x", "REGISTER|a b|i|0", "FROBNICATE|1", "FROBNICATE|2", "\u{7f}", "EXPIRE|1"] {
        assert!(instance.client.ask(refused).starts_with("ERROR"), "{refused}");
    }
    assert!(instance.ask("ROUTE_ADD", "bad domain|/|http://b|0").starts_with("ERROR"));
    assert!(instance.ask("ROUTE_REMOVE", "r9").starts_with("ERROR"));
    assert!(instance.ask("CONFIG_REVERT", "9").starts_with("ERROR"));
    assert!(instance.client.ask("PING|nobody").starts_with("ERROR"));
    (0..3).for_each(|_| instance.expect("PING", "", "PONG"));
    assert!(instance.ask("SESSION_INFO", "").starts_with("SESSION_OK"));
    // Over REST: a query, a body, a path, a method, an unknown path, and what the writer refuses.
    assert_eq!(call(api, &session, "GET /v1/session", ""), 200);
    assert_eq!(call(api, &session, "POST /v1/session/routes", "{}"), 400);
    assert_eq!(call(api, &session, "PUT /v1/session/headers/r1/a%20b", r#"{"value":"x"}"#), 400);
    assert_eq!(call(api, &session, "DELETE /v1/session/routes/r9", ""), 404);
    assert_eq!(call(api, "nobody", "POST /v1/session/ping", ""), 401);
    assert_eq!(call(api, &session, "PATCH /v1/sessions", ""), 405);
    assert_eq!(call(api, &session, "GET /v1/nothing", ""), 404);
    assert_eq!(harness.operate("PUT", "/v1/services/s/instances/i", r#"{"routes":[{"backend":"x"}]}"#), 400);
    let told = scrape(api);
    let is = |verb: &str, outcome: &str, number: u64| {
        let series = format!(r#"signalbox_commands_total{{verb="{verb}",outcome="{outcome}"}}"#);
        assert_eq!(told.number(&series), number, "{series}: {:#?}", told.series);
    };
    is("register", "ok", 1);
    is("register", "invalid", 1);
    is("route_add", "ok", 1);
    is("route_add", "invalid", 3);
    is("route_remove", "not_found", 2);
    is("config_apply", "ok", 1);
    is("config_revert", "not_found", 1);
    is("headers_set", "invalid", 1);
    is("put_instance", "invalid", 1);
    is("ping", "ok", 3);
    is("ping", "invalid_session", 2);
    is("session_info", "ok", 2);
    is("_OTHER", "invalid", 5);
    is("_OTHER", "not_found", 1);
}

#[test]
fn connections_commands_and_the_process_are_told() {
    let harness = ServerHarness::open();
    let mut instance = harness.instance("shop-1", &backend());
    assert!(instance.ask("ROUTE_REMOVE", "r9").starts_with("ERROR"));
    let mut kept = harness.connect();
    kept.send("GET /200 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(kept.message().unwrap().status(), 200);
    let silent = Wire::connect(harness.server().proxy);
    let api = harness.server().api;
    let open = |protocol: &str| format!(r#"signalbox_connections_open{{listener="http",protocol="{protocol}"}}"#);
    let mut told = scrape(api);
    let of_api = r#"signalbox_connections_open{listener="api",protocol="http/1.1"}"#;
    // The server may still hold the connection of the scrape before.
    eventually("both are open, and one of the API", || {
        told = scrape(api);
        [&open("http/1.1"), &open("undecided"), of_api].iter().all(|series| told.number(series) == 1)
    });
    let is = |series: &str, number: u64| assert_eq!(told.number(series), number, "{series}");
    is(r#"signalbox_connections_open{listener="pipe",protocol="pipe"}"#, 1);
    is(r#"signalbox_connections_accepted_total{listener="https"}"#, 0);
    is(r#"signalbox_commands_total{verb="register",outcome="ok"}"#, 1);
    is(r#"signalbox_commands_total{verb="config_apply",outcome="ok"}"#, 1);
    is(r#"signalbox_commands_total{verb="route_remove",outcome="not_found"}"#, 1);
    is("signalbox_sessions", 1);
    is("signalbox_sessions_connected", 1);
    is("signalbox_sessions_staged", 0);
    is("signalbox_routes", 1);
    is("signalbox_store_failures_total", 0);
    is(concat!(r#"signalbox_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#), 1);
    for series in [
        "signalbox_commit_duration_seconds_count",
        r#"signalbox_store_size_bytes{file="database"}"#,
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
        "process_threads",
    ] {
        assert!(told.value(series) > 0.0, "{series}");
    }
    drop((kept, silent));
    eventually("both are closed", || {
        let told = scrape(api);
        told.number(&open("http/1.1")) == 0 && told.number(&open("undecided")) == 0
    });
    let begun = r#"signalbox_connections_begun_total{listener="http",protocol="http/1.1"}"#;
    assert_eq!(scrape(api).number(begun), 1, "a count does not fall");
}

#[test]
fn a_failed_attempt_that_nothing_follows_is_no_retry() {
    let harness = ServerHarness::open();
    let (backend, mortal) = (Backend::named("b"), KillableBackend::named("b"));
    let _instances = [("shop-1", mortal.url()), ("shop-2", backend.url())].map(|(name, url)| {
        let mut instance = harness.empty(name);
        instance.add("*", "/", &url);
        instance.apply();
        eventually("it is well", || !instance.payload("CIRCUIT_BREAKER_STATUS", "r1")["last_check"].is_null());
        instance
    });
    assert_eq!(harness.operate("PUT", "/v1/instances/shop/shop-2/maintenance", ""), 202);
    mortal.kill();
    assert_eq!(harness.status("/"), 502);
    assert!(backend.heard_nothing());
    let of_first = |metric: &str| format!(r#"{metric}{{service="shop",instance="shop-1",route="r1"}}"#);
    let told = scrape(harness.server().api);
    assert_eq!(told.number(&of_first("signalbox_retries_total")), 0);
    assert_eq!(told.number(&of_first("signalbox_request_duration_seconds_count")), 1);
}

#[test]
fn a_retry_counts_where_the_attempt_failed() {
    let harness = ServerHarness::open();
    // It takes a request and hangs up without an answer, once the connection was used before.
    let fickle = Backend::new(|mut wire| {
        if wire.message().is_some() {
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            let _ = wire.message();
        }
    });
    let _instance = harness.instance("shop-1", &fickle);
    let retries = r#"signalbox_retries_total{service="shop",instance="shop-1",route="r1"}"#;
    eventually("an idle connection died under a request", || {
        let mut wire = harness.connect();
        for _ in 0..2 {
            wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
            let _ = wire.message();
        }
        scrape(harness.server().api).number(retries) > 0
    });
}
