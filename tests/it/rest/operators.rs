//! Rights of operators over REST, and lists that stay consistent while entries come and go.

use std::collections::BTreeSet;

use serde_json::json;

use super::api::Api;

const TOKEN: &str = "0123456789abcdef";
const CALLS: [(&str, &str); 13] = [
    ("GET", "/v1/overview"),
    ("GET", "/v1/instances"),
    ("GET", "/v1/instances/shop/shop-1"),
    ("DELETE", "/v1/instances/shop/shop-9"),
    ("GET", "/v1/routes"),
    ("GET", "/v1/stats"),
    ("GET", "/v1/explain?host=a&path=/"),
    ("PUT", "/v1/instances/shop/shop-1/drain"),
    ("DELETE", "/v1/instances/shop/shop-1/drain"),
    ("PUT", "/v1/instances/shop/shop-9/maintenance"),
    ("DELETE", "/v1/instances/shop/shop-9/maintenance"),
    ("GET", "/v1/events"),
    ("GET", "/metrics"),
];

#[test]
fn with_tokens_only_who_shows_one_is_an_operator() {
    let api = Api::with(&["--api-operator-tokens", TOKEN]);
    let session = api.register("shop", "shop-1");
    for (method, target) in CALLS {
        for token in ["", "fedcba9876543210", session.as_str()] {
            let answer = api.ask(method, target, token, None);
            assert_eq!(answer.problem(), (401, "unauthenticated", ""), "{method} {target} {token}");
            assert_eq!(answer.message.field("www-authenticate"), Some("Bearer"));
        }
        let basic = api.send(method, target, &format!("authorization: Basic {TOKEN}\r\n"), "");
        assert_eq!(basic.problem(), (401, "unauthenticated", ""), "{method} {target}");
        if !["/v1/events", "/metrics"].contains(&target) {
            let status = api.ask(method, target, TOKEN, None).status;
            assert!([200, 400, 404, 409].contains(&status), "{method} {target}: {status}");
        }
    }
    assert_eq!(api.ask("GET", "/v1/session", TOKEN, None).problem(), (401, "unauthenticated", ""));
}

#[test]
fn without_tokens_operators_ask_for_this_machine_by_its_own_name() {
    let api = Api::start();
    api.register("shop", "shop-1");
    for (method, target) in CALLS {
        let mut wire = crate::support::wire::Wire::connect(api.address());
        wire.send(format!("{method} {target} HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n"));
        let answer = wire.message().unwrap();
        assert_eq!(
            (answer.status(), answer.field("content-type")),
            (403, Some("application/problem+json")),
            "{target}"
        );
    }
    let host = format!("host: localhost:{}\r\n", api.address().port());
    let mut wire = crate::support::wire::Wire::connect(api.address());
    wire.send(format!("GET /v1/overview HTTP/1.1\r\n{host}\r\n"));
    assert_eq!(wire.message().unwrap().status(), 200);
}

#[test]
fn a_list_read_in_parts_holds_all_that_was_there_all_along() {
    let api = Api::start();
    let sessions: Vec<String> = (0..7).map(|number| api.register("shop", &format!("shop-{number}"))).collect();
    for (number, session) in sessions.iter().enumerate() {
        for route in 0..3 {
            api.route(session, &format!("h{number}-{route}.example"), "http://127.0.0.1:1");
        }
        api.apply(session);
    }
    for (list, key, total) in
        [("/v1/instances", "instance_name", 7), ("/v1/routes", "domains", 21), ("/v1/stats", "route_id", 21)]
    {
        let (mut cursor, mut seen, mut parts) = (String::new(), Vec::new(), 0);
        loop {
            let part = api.ask("GET", &format!("{list}?limit=4&cursor={cursor}"), "", None).json;
            seen.extend(
                part["items"].as_array().unwrap().iter().map(|item| format!("{}{}", item["instance_name"], item[key])),
            );
            parts += 1;
            match part["next_cursor"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => break,
            }
        }
        assert_eq!((parts, seen.len()), (total / 4 + 1, total), "{list}");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), total, "{list}: nothing twice");
    }
}

#[test]
fn a_cursor_outlives_what_it_points_at() {
    let api = Api::start();
    let sessions: Vec<String> = (0..6).map(|number| api.register("shop", &format!("shop-{number}"))).collect();
    let first = api.ask("GET", "/v1/instances?limit=3", "", None).json;
    let cursor = first["next_cursor"].as_str().unwrap();
    // The one that the cursor points at goes; one comes before it, and one behind.
    assert_eq!(api.ask("DELETE", "/v1/session", &sessions[2], None).status, 204);
    api.register("shop", "shop-00");
    api.register("shop", "shop-50");
    let rest = api.ask("GET", &format!("/v1/instances?cursor={cursor}"), "", None).json;
    let names: Vec<&str> =
        rest["items"].as_array().unwrap().iter().map(|item| item["instance_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["shop-3", "shop-4", "shop-5", "shop-50"]);
    assert_eq!(rest["next_cursor"], json!(null));
}

#[test]
fn an_operators_word_is_done_by_name() {
    let api = Api::start();
    let missing = api.ask("PUT", "/v1/instances/shop/shop-1/drain", "", Some(&json!({ "duration": "1m" })));
    assert_eq!(missing.problem(), (404, "not_found", ""));
    assert_eq!(missing.detail(), "no instance shop/shop-1");
    let session = api.register("a/b", "ä b".replace(' ', "-").as_str());
    let at = "/v1/instances/a%2Fb/%C3%A4-b";
    assert_eq!(api.ask("GET", at, "", None).json["service_name"], "a/b");
    assert_eq!(api.ask("GET", "/v1/session", &session, None).status, 200, "an id may hold other than ASCII");
    assert_eq!(api.ask("DELETE", at, "", None).status, 204);
    assert_eq!(api.ask("GET", "/v1/session", &session, None).status, 401);
}
