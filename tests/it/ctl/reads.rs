//! Commands that show something: `--json` has the payloads of REST, and tables have the names.

use serde_json::{Value, json};

use super::ctl;
use crate::server::eventually;
use crate::support::backend::{Backend, closed_port};
use crate::support::server_harness::ServerHarness;

/// Checks that a command shows what REST answers. Some values change from one moment to the next, so that a second look may be
/// needed.
fn same(harness: &ServerHarness, words: &[&str], target: &str) -> Value {
    let words = [words, &["--json"]].concat();
    let (mut shown, mut told) = (Value::Null, Value::Null);
    let mut looks = 0;
    eventually(target, || {
        shown = ctl(harness, &words).json();
        told = harness.told(target);
        looks += 1;
        assert!(shown == told || looks < 20, "{words:?}:\n{shown}\n{told}");
        shown == told
    });
    shown
}

#[test]
fn json_is_what_rest_answers() {
    let harness = ServerHarness::open();
    let backend = Backend::named("shop");
    let mut instance = harness.instance("shop-1", &backend);
    instance.add("broken.example", "/", &format!("http://{}", closed_port()));
    instance.set("OPTIONS_SET", "r1|retries|1");
    instance.add("staged.example", "/", &backend.url());
    let metadata = r#"{"version":"1.2","n":3,"deep":{"list":[1,2.5,null,true]}}"#;
    let mut second = harness.server().connect();
    let reply = second.ask(&format!("REGISTER|a|b|9001|{metadata}"));
    assert!(reply.starts_with("ACK|"), "{reply}");
    assert_eq!(harness.get("/").status(), 200);
    assert_eq!(harness.get_of("broken.example", "/x?token=1").status(), 502);
    eventually("the failure is listed", || harness.told("/v1/requests")["items"].as_array().unwrap().len() == 1);
    eventually("the backends are checked", || {
        let routes = harness.told("/v1/routes");
        routes["items"].as_array().unwrap().iter().all(|route| !route["last_check"].is_null())
    });

    same(&harness, &["status"], "/v1/overview");
    let instances = same(&harness, &["instances"], "/v1/instances");
    assert_eq!(instances["items"][0]["metadata"], serde_json::from_str::<Value>(metadata).unwrap());
    same(&harness, &["instances", "shop/shop-1"], "/v1/instances/shop/shop-1");
    same(&harness, &["routes"], "/v1/routes");
    same(&harness, &["routes", "shop/shop-1"], "/v1/routes?instance=shop/shop-1");
    same(&harness, &["stats"], "/v1/stats");
    same(&harness, &["explain", "broken.example", "/x"], "/v1/explain?host=broken.example&path=/x");
    let staged = ["explain", "staged.example", "/", "--method", "GET", "--staged", "shop/shop-1"];
    let target = "/v1/explain?host=staged.example&path=/&method=GET&staged=shop/shop-1";
    assert_eq!(same(&harness, &staged, target)["configuration"], "staged");
    let failed = same(&harness, &["why"], "/v1/requests");
    let id = failed["items"][0]["id"].as_str().unwrap().to_owned();
    same(&harness, &["why", &id], &format!("/v1/requests/{id}"));
    assert_eq!(ctl(&harness, &["why", "--host", "nowhere.example", "--json"]).json(), json!({ "items": [] }));
    same(&harness, &["certs"], "/v1/certificates");
    same(&harness, &["diff", "shop/shop-1"], "/v1/instances/shop/shop-1/config/diff");
    same(&harness, &["audit"], "/v1/audit");
    same(
        &harness,
        &["audit", "shop/shop-1", "--action", "applied"],
        "/v1/audit?service=shop&instance=shop-1&action=applied",
    );

    same(&harness, &["services"], "/v1/services");
    same(&harness, &["history", "shop/shop-1"], "/v1/instances/shop/shop-1/history");
    same(&harness, &["history", "shop/shop-1", "1"], "/v1/instances/shop/shop-1/history/1");
    same(&harness, &["config", "shop/shop-1"], "/v1/services/shop/instances/shop-1");
}

#[test]
fn tables_and_lines_tell_the_same_to_people() {
    let harness = ServerHarness::open();
    let empty = [
        ("services", "no services are registered"),
        ("instances", "no instances are registered"),
        ("routes", "no routes are active"),
        ("stats", "no routes are active"),
        ("certs", "the server has no certificates"),
        ("why", "no such request failed lately"),
    ];
    for (verb, words) in empty {
        let ran = ctl(&harness, &[verb]);
        assert_eq!((ran.code, ran.out.trim_end(), ran.err.as_str()), (0, words, ""), "{verb}");
    }
    let backend = Backend::named("shop");
    let mut instance = harness.instance("shop-1", &backend);
    instance.add("staged.example", "/", &backend.url());
    assert_eq!(harness.get_of("broken.example", "/").status(), 200);
    let told = |words: &[&str]| {
        let ran = ctl(&harness, words);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{words:?}: {ran:?}");
        assert!(!ran.out.contains('\x1b'), "{words:?}: {ran:?}");
        ran.out
    };
    let status = told(&["status"]);
    assert!(status.contains("1: 1 connected, 0 draining, 0 in maintenance"), "{status}");
    assert!(status.contains(env!("CARGO_PKG_VERSION")) && status.contains("certificates  none"), "{status}");
    for (words, expected) in [
        (&["services"][..], &["SERVICE", "shop"][..]),
        (&["instances"], &["INSTANCE", "shop/shop-1", "connected", "100%"]),
        (&["instances", "shop/shop-1"], &["1 active, 1 staged", "metadata"]),
        (&["routes"], &["HOST AND PATH", "*/", "r1", &backend.url()]),
        (&["stats"], &["P99 MS", "shop/shop-1"]),
        (&["explain", "a", "/"], &["forwarded: ", "wins: shop at */, priority 0", "shop-1"]),
        (&["diff", "shop/shop-1"], &["SECTION", "routes", "routes added  r2"]),
        (&["validate", "shop/shop-1"], &["the staged configuration of shop/shop-1 can be applied"]),
        (&["audit"], &["registered", "session:shop/shop-1", "pipe 127.0.0.1", "routes_added=1"]),
        (&["health"], &["ready"]),
        (&["reload"], &["nothing changed"]),
    ] {
        let out = told(words);
        expected.iter().for_each(|expected| assert!(out.contains(expected), "{words:?} without {expected}:\n{out}"));
    }
    let none = ctl(&harness, &["explain", "other.example", "x"]);
    none.fails(1, "path");
}

#[test]
fn a_failed_request_is_told_with_its_attempts() {
    let harness = ServerHarness::open();
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/", &format!("http://{}", closed_port()));
    instance.apply();
    let id = harness.get("/a").field("x-request-id").expect("each answer has an id").to_owned();
    let mut told = String::new();
    eventually("it is kept", || {
        let ran = ctl(&harness, &["why", &id]);
        told = ran.out;
        ran.code == 0
    });
    assert!(told.contains("GET http://a/a") && told.contains("502") && told.contains(&id), "{told}");
    let lines = ctl(&harness, &["why", "--status-min", "500"]).out;
    assert!(lines.contains(&id) && lines.contains("REASON"), "{lines}");
    ctl(&harness, &["why", "no-such-id"]).fails(1, "no request with this id failed lately");
}

#[test]
fn lists_of_several_pages_are_one_list() {
    let harness = ServerHarness::open();
    let mut instance = harness.empty("shop-1");
    let routes: Vec<Value> = (0..1203)
        .map(|at| json!({ "domains": [format!("d{at}.example")], "path": "/", "backend_url": "http://127.0.0.1:1", "priority": 0 }))
        .collect();
    let reply = instance.ask("ROUTE_ADD_BULK", &Value::from(routes).to_string());
    assert!(reply.starts_with("ROUTE_BULK_OK"), "{reply}");
    instance.apply();
    let listed = ctl(&harness, &["routes", "--json"]).json();
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["next_cursor"]), (1203, &Value::Null));
    let lines = ctl(&harness, &["routes"]).out;
    assert_eq!((lines.lines().count(), lines.matches("HOST AND PATH").count()), (1204, 1));
}
