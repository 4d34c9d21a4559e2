//! Refusals over REST: every one is a problem document that names the faulty field.

use serde_json::{Value, json};

use super::api::Api;

#[test]
fn a_wrong_body_is_refused_with_the_place_of_the_fault() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    api.route(&session, "shop.example", "http://127.0.0.1:1");
    let cases: [(&str, &str, Value, &str); 16] = [
        ("POST", "/v1/session/routes", json!({ "domains": ["a"], "path": "/" }), "backend_url"),
        (
            "POST",
            "/v1/session/routes",
            json!({ "domains": ["a:1"], "path": "/", "backend_url": "http://b" }),
            "domains",
        ),
        ("POST", "/v1/session/routes", json!({ "domains": "a", "path": "/", "backend_url": "http://b" }), "domains"),
        ("POST", "/v1/session/routes", json!({ "domains": ["a"], "path": "a", "backend_url": "http://b" }), "path"),
        (
            "POST",
            "/v1/session/routes",
            json!({ "domains": ["a"], "path": "/", "backend_url": "ftp://b" }),
            "backend_url",
        ),
        (
            "POST",
            "/v1/session/routes",
            json!({ "domains": ["a"], "path": "/", "backend_url": "http://b", "x": 1 }),
            "x",
        ),
        (
            "POST",
            "/v1/session/routes/bulk",
            json!([{ "domains": ["a"], "path": "/", "backend_url": 7 }]),
            "[0].backend_url",
        ),
        ("POST", "/v1/session/routes/bulk", json!([]), ""),
        ("PATCH", "/v1/session/routes/r1", json!({}), ""),
        ("PATCH", "/v1/session/routes/r1", json!({ "priority": 2_147_483_648_u32 }), "priority"),
        ("PUT", "/v1/session/rate-limits/ALL", json!({ "requests": 0, "window": "1m" }), "requests"),
        ("PUT", "/v1/session/rate-limits/ALL", json!({ "requests": 1, "window": "-1m" }), "window"),
        ("PUT", "/v1/session/options/r1/timeout", json!({ "value": "soon" }), "value"),
        ("PUT", "/v1/session/health-checks/r1", json!({ "path": "/", "interval": "99ms", "timeout": 1 }), "interval"),
        ("PUT", "/v1/session/drain", json!({ "duration": null }), "duration"),
        ("POST", "/v1/session/config/apply", json!({ "scopes": [] }), "scopes"),
    ];
    for (method, target, body, field) in cases {
        let answer = api.ask(method, target, &session, Some(&body));
        assert_eq!(answer.problem(), (400, "invalid", field), "{body}: {answer:?}");
    }
    let taken = api.ask("GET", "/v1/session/routes", &session, None).json;
    assert_eq!(taken.as_array().map(Vec::len), Some(1), "nothing of what was refused is there");
}

#[test]
fn invalid_json_is_refused_with_line_and_column() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    let fields = format!("authorization: Bearer {session}\r\ncontent-type: application/json; charset=utf-8\r\n");
    let broken = api.send("POST", "/v1/session/routes", &fields, "{\n  \"domains\": [}\n");
    assert_eq!(broken.problem(), (400, "invalid", ""));
    assert!(broken.detail().ends_with("at line 2 column 15"), "{broken:?}");
    for body in ["{\"domains\":", "\u{feff}{}", "[[[", &"[".repeat(1000)] {
        let answer = api.send("POST", "/v1/session/routes", &fields, body);
        assert_eq!(answer.problem(), (400, "invalid", ""), "{body}");
    }
    let none = api.send("POST", "/v1/session/routes", &fields, "");
    assert_eq!(none.problem(), (400, "invalid", ""));
}

#[test]
fn a_body_must_say_that_it_is_json() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    let body = "{\"duration\":\"1h\"}";
    for kind in ["", "content-type: text/plain\r\n", "content-type: application/x-www-form-urlencoded\r\n"] {
        let fields = format!("authorization: Bearer {session}\r\n{kind}");
        let answer = api.send("PUT", "/v1/session/drain", &fields, body);
        assert_eq!(answer.problem(), (415, "unsupported_media_type", ""), "{kind}");
    }
    let fields = format!("authorization: Bearer {session}\r\ncontent-type: Application/Vnd.x+JSON\r\n");
    assert_eq!(api.send("PUT", "/v1/session/drain", &fields, body).status, 200);
}

#[test]
fn a_wrong_path_or_query_is_refused_with_its_name() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    for (method, target, field) in [
        ("DELETE", "/v1/session/routes/x", "route_id"),
        ("DELETE", "/v1/session/routes/r01", "route_id"),
        ("DELETE", "/v1/session/routes/%FF", ""),
        ("DELETE", "/v1/session/headers/r1/a%20b", "name"),
        ("DELETE", "/v1/session/headers/all/x", "target"),
        ("DELETE", "/v1/session/options/ALL/foo", "key"),
        ("DELETE", "/v1/session/events/foo", "type"),
        ("GET", "/v1/session/stats?target=foo", "target"),
        ("GET", "/v1/session/stats?tarket=r1", "tarket"),
        ("GET", "/v1/instances?limit=0", "limit"),
        ("GET", "/v1/instances?limit=1001", "limit"),
        ("GET", "/v1/instances?limit=ten", "limit"),
        ("GET", "/v1/instances?cursor=x", "cursor"),
        ("GET", "/v1/routes?instance=shop", "instance"),
        ("GET", "/v1/explain?host=shop.example", "path"),
        ("GET", "/v1/session/stats?target=r1&target=r2", "target"),
        ("GET", "/v1/explain?host=*&path=/", "host"),
        ("GET", "/v1/explain?host=a&path=b", "path"),
    ] {
        let token = if target.starts_with("/v1/session") { session.as_str() } else { "" };
        let answer = api.ask(method, target, token, None);
        assert_eq!(answer.problem(), (400, "invalid", field), "{target}: {answer:?}");
    }
}

#[test]
fn a_wrong_number_in_a_query_or_a_path_is_refused_with_the_numbers_that_there_are() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    let history = "/v1/instances/shop/shop-1/history";
    let revision = format!("{history}/1?against=");
    for parameter in [
        "/v1/session/events?after=",
        "/v1/events?after=",
        "/v1/instances?limit=",
        "/v1/routes?limit=",
        "/v1/stats?limit=",
        "/v1/services?limit=",
        "/v1/audit?limit=",
        "/v1/requests?limit=",
        "/v1/requests?status_min=",
        "/v1/tap?percent=",
        "/v1/tap?per_second=",
        "/v1/session/config/history?limit=",
        &revision,
    ] {
        for number in ["-1", "", "1.5", "ten", "+1", "99999999999999999999999"] {
            let target = format!("{parameter}{number}");
            let token = if target.starts_with("/v1/session") { session.as_str() } else { "" };
            let answer = api.ask("GET", &target, token, None);
            let field = parameter.rsplit_once(['?', '&']).unwrap().1.trim_end_matches('=');
            assert_eq!(answer.problem(), (400, "invalid", field), "{target}: {answer:?}");
            assert!(answer.message.text().contains("must be a whole number"), "{target}: {answer:?}");
            for words in ["digit", "u64", "parse", "integer"] {
                assert!(!answer.message.text().contains(words), "{target}: {answer:?}");
            }
        }
    }
}

#[test]
fn an_unknown_path_and_a_wrong_method_are_problems_too() {
    let api = Api::start();
    for target in [
        "/index.html",
        "/v1",
        "/v2/sessions",
        "/v1/session/",
        "/v1/session/routes/r1/x",
        "/docs/../x",
        "/%FF",
        "/docs/none.js",
    ] {
        assert_eq!(api.ask("GET", target, "", None).problem(), (404, "not_found", ""), "{target}");
    }
    for (method, target, allowed) in [
        ("PUT", "/v1/session", "GET,HEAD,DELETE"),
        ("GET", "/v1/sessions", "POST"),
        ("OPTIONS", "/v1/session/routes", "GET,HEAD,POST"),
        ("TRACE", "/v1/session/drain", "GET,HEAD,PUT,DELETE"),
        ("FROBNICATE", "/v1/overview", "GET,HEAD"),
        ("POST", "/healthz", "GET,HEAD"),
        ("POST", "/openapi.json", "GET,HEAD"),
        ("DELETE", "/docs/", "GET,HEAD"),
    ] {
        let answer = api.ask(method, target, "", None);
        assert_eq!(answer.problem(), (405, "method_not_allowed", ""), "{method} {target}");
        let mut allow: Vec<&str> = answer.message.field("allow").unwrap().split(',').collect();
        let mut expected: Vec<&str> = allowed.split(',').collect();
        allow.sort_unstable();
        expected.sort_unstable();
        assert_eq!(allow, expected, "{method} {target}");
    }
}

#[test]
fn the_present_state_refuses_with_conflict() {
    let api = Api::start();
    let session = api.register("shop", "shop-1");
    api.route(&session, "shop.example", "http://127.0.0.1:1");
    let ask = |method: &str, target: &str| api.ask(method, target, &session, None);
    assert_eq!(ask("GET", "/v1/session/drain").problem(), (409, "refused", ""));
    assert_eq!(ask("GET", "/v1/session/stats?target=r1").problem(), (409, "refused", ""));
    assert_eq!(ask("GET", "/v1/session/stats?target=r2").problem(), (404, "not_found", ""));
    api.apply(&session);
    assert_eq!(ask("POST", "/v1/session/circuit-breakers/r1/reset").problem(), (409, "refused", ""));
    let other = api.register("till", "till-1");
    api.route(&other, "shop.example", "http://127.0.0.1:1");
    let held = api.ask("POST", "/v1/session/config/validate", &other, None);
    assert_eq!(held.problem(), (409, "conflict", ""));
    assert!(held.detail().contains("held by service shop"), "{held:?}");
}
