//! A guard takes an apply back when the new backends fail.

use serde_json::json;

use super::{operate, told};
use crate::server::eventually;
use crate::support::server_harness::{ServerHarness, StatusBackend};

#[test]
fn a_guard_takes_an_apply_back_at_once_when_its_backend_fails_and_tells_the_figures() {
    let harness = ServerHarness::open();
    let (good, bad) = (StatusBackend::new(200), StatusBackend::new(200));
    let mut instance = harness.instance("shop-1", &good.backend);
    instance.expect("SUBSCRIBE", "config_reverted", "SUBSCRIBE_OK");
    for _ in 0..10 {
        assert_eq!(harness.status("/"), 200);
    }
    instance.expect("ROUTE_UPDATE", &format!("r1|backend_url|{}", bad.backend.url()), "ROUTE_OK");
    let applied = instance.ask("CONFIG_APPLY_WITH", r#"{"confirm_within":"1h","guard":true}"#);
    assert!(applied.contains("\"guard\":true"), "{applied}");
    bad.set_status(503);
    eventually("the guard takes it back", || {
        harness.status("/");
        told(&operate(harness.server(), "GET", "/v1/instances/shop/shop-1", "", ""))["confirmation"].is_null()
    });
    assert_eq!(harness.status("/"), 200, "the backend before serves again");
    let event = instance.client.pushed_line();
    assert!(
        event.starts_with("EVENT|config_reverted|{\"number\":2,\"reverted_to\":1,\"reason\":\"guard: 5xx on "),
        "{event}"
    );
    let list = told(&operate(harness.server(), "GET", "/v1/instances/shop/shop-1/history", "", ""));
    let last = &list["items"][0];
    assert_eq!((&last["action"], &last["number"], &last["reverted_to"]), (&json!("guarded"), &json!(3), &json!(1)));
    let reason = last["reason"].as_str().unwrap();
    assert!(reason.contains("requests since the apply") && reason.contains("before; a rise by 5 points"), "{reason}");
    let audit = told(&operate(harness.server(), "GET", "/v1/audit?action=reverted", "", ""));
    assert_eq!(audit["items"][0]["details"]["reason"], reason);
}

#[test]
fn a_guard_keeps_an_apply_whose_backends_answer_as_before() {
    let mut harness = ServerHarness::open();
    let (first, second) = (StatusBackend::new(200), StatusBackend::new(200));
    let mut instance = harness.instance("shop-1", &first.backend);
    instance.expect("ROUTE_UPDATE", &format!("r1|backend_url|{}", second.backend.url()), "ROUTE_OK");
    assert!(instance.ask("CONFIG_APPLY_WITH", r#"{"confirm_within":"1h","guard":true}"#).starts_with("APPLY_OK|"));
    for _ in 0..60 {
        assert_eq!(harness.status("/"), 200);
    }
    // After a kill the guard goes on with new counts.
    harness.crash();
    harness.reconnect(&mut instance);
    let shown = told(&operate(harness.server(), "GET", "/v1/instances/shop/shop-1", "", ""));
    assert_eq!(shown["confirmation"]["guard"], true, "{shown}");
    second.set_status(500);
    eventually("the guard takes it back", || {
        harness.status("/");
        told(&operate(harness.server(), "GET", "/v1/instances/shop/shop-1", "", ""))["confirmation"].is_null()
    });
    eventually("the backend before serves again", || harness.status("/") == 200);
}
