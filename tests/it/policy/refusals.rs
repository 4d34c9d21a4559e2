//! Requests that policy refuses are counted, for the right member and kind.

use serde_json::{Value, json};

use crate::server::eventually;
use crate::support::backend::{Backend, closed_port};
use crate::support::server_harness::{Instance, ServerHarness};

fn stats(instance: &mut Instance) -> Value {
    instance.payload("STATS_GET", "r1")
}

/// Waits until the statistics of `r1` say this many of each status, and gives them.
fn counted(instance: &mut Instance, codes: &Value) -> Value {
    eventually("all are counted", || stats(instance)["status_codes"] == *codes);
    stats(instance)
}

#[test]
fn requests_that_a_rate_limit_refuses_count_without_a_latency() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.instance("shop-1", &backend);
    instance.set("RATELIMIT_SET", "r1|2|1h");
    assert_eq!([(); 2].map(|()| harness.status("/")), [200; 2]);
    let before = counted(&mut instance, &json!({ "200": 2 }));
    assert_eq!([(); 5].map(|()| harness.status("/")), [429; 5]);
    let after = counted(&mut instance, &json!({ "200": 2, "429": 5 }));
    assert_eq!((&after["requests"], &after["errors"], &after["in_flight"]), (&json!(7), &json!(0), &json!(0)));
    for key in ["avg_latency_ms", "p50_latency_ms", "p99_latency_ms", "bytes_sent"] {
        assert_eq!(before[key], after[key], "{key}");
    }
}

#[test]
fn in_a_pool_the_member_whose_limit_it_is_counts_it() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut first = harness.instance("shop-1", &backend);
    let mut second = harness.instance("shop-2", &backend);
    first.set("RATELIMIT_SET", "ALL|10|1h");
    second.set("RATELIMIT_SET", "ALL|1|1h");
    assert_eq!([(); 4].map(|()| harness.status("/")), [200, 429, 429, 429]);
    eventually("its own are counted", || stats(&mut second)["status_codes"]["429"] == json!(3));
    assert_eq!(stats(&mut first)["status_codes"]["429"], Value::Null);
}

#[test]
fn maintenance_and_drain_count_for_the_oldest_member_as_errors() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut first = harness.instance("shop-1", &backend);
    let mut second = harness.instance("shop-2", &backend);
    for instance in [&mut first, &mut second] {
        instance.expect("MAINT_ENTER", "ALL|", "ACK");
        assert_eq!(instance.client.pushed_line(), "MAINT_OK|ALL");
    }
    assert_eq!([(); 3].map(|()| harness.status("/")), [503; 3]);
    let told = counted(&mut first, &json!({ "503": 3 }));
    assert_eq!((&told["requests"], &told["errors"]), (&json!(3), &json!(3)));
    assert_eq!(stats(&mut second)["requests"], json!(0));
    second.expect("CLIENT_SHUTDOWN", "", "SHUTDOWN_OK");
    first.expect("MAINT_EXIT", "ALL", "ACK");
    assert_eq!(first.client.pushed_line(), "MAINT_OK|ALL");
    assert!(first.ask("DRAIN_START", "1ms").starts_with("DRAIN_OK|"));
    eventually("it is drained", || first.payload("DRAIN_STATUS", "")["traffic_percent"].as_f64() == Some(0.0));
    assert_eq!(harness.status("/"), 503);
    counted(&mut first, &json!({ "503": 4 }));
}

#[test]
fn a_request_that_was_tried_counts_once_and_one_that_the_breaker_keeps_back_counts_too() {
    let harness = ServerHarness::open();
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/", &format!("http://{}", closed_port()));
    instance.set("CIRCUIT_BREAKER_SET", "r1|1|1h|1");
    assert_eq!([(); 3].map(|()| harness.status("/")), [502, 503, 503]);
    let told = counted(&mut instance, &json!({ "502": 1, "503": 2 }));
    assert_eq!((&told["requests"], &told["errors"]), (&json!(3), &json!(3)));
}

#[test]
fn requests_that_the_options_of_a_route_refuse_count_for_it() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.instance("shop-1", &backend);
    instance.expect("OPTIONS_SET", "r1|websocket|false", "OPTIONS_OK");
    instance.set("OPTIONS_SET", "r1|max_body_size|1");
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 403);
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
    assert_eq!(wire.message().unwrap().status(), 413);
    assert_eq!(counted(&mut instance, &json!({ "403": 1, "413": 1 }))["errors"], json!(0));
    assert!(backend.heard_nothing());
}
