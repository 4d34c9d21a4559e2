//! Wrong and large puts: each is refused with its place and what to write, and changes nothing.

use serde_json::{Value, json};

use super::{at, one, put};
use crate::rest::api::Api;

#[test]
fn each_wrong_field_is_named_by_its_path_and_nothing_changes() {
    let api = Api::start();
    put(&api, "shop/shop-1", &one("http://127.0.0.1:1", "a.example"));
    let second = |fields: Value| {
        let mut route = json!({ "backend": "http://127.0.0.1:1", "domains": ["b.example"] });
        route.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "routes": [{ "backend": "http://127.0.0.1:1", "domains": ["a.example"] }, route] })
    };
    for (config, field, words) in [
        (json!({ "backend": "http://127.0.0.1:1" }), "domains", "is missing"),
        (json!({ "backnd": "http://127.0.0.1:1" }), "backnd", "unknown field `backnd`"),
        (json!({ "routes": {} }), "routes", "array"),
        (second(json!({ "pth": "/" })), "routes[1].pth", "unknown field"),
        (second(json!({ "path": "x" })), "routes[1].path", "must begin with /"),
        (second(json!({ "backend": "b:80" })), "routes[1].backend", "must begin with http://"),
        (second(json!({ "priority": "high" })), "routes[1].priority", "whole number"),
        (second(json!({ "options": { "tiemout": "1s" } })), "routes[1].options.tiemout", "did you mean timeout?"),
        (second(json!({ "options": { "timeout": "soon" } })), "routes[1].options.timeout", "not a positive duration"),
        (second(json!({ "headers": { "x a": "1" } })), "routes[1].headers.x a", "may not hold a space"),
        (second(json!({ "rate_limit": { "requests": 5 } })), "routes[1].rate_limit.window", "is missing"),
        (
            second(json!({ "health_check": { "path": "/", "interval": "1ms", "timeout": "1s" } })),
            "routes[1].health_check.interval",
            "too short",
        ),
        (second(json!({ "name": "r4000000000" })), "routes[1].name", "choose a word"),
    ] {
        let answer = put(&api, "shop/shop-1", &config);
        assert_eq!(answer.problem(), (400, "invalid", field), "{answer:?}");
        assert!(answer.detail().contains(words), "{answer:?}");
    }
    for body in ["", "[]", "null", "{\"backend\":", "\"x\""] {
        let fields = "content-type: application/json\r\n";
        assert_eq!(api.send("PUT", &at("shop/shop-1"), fields, body).status, 400, "{body}");
    }
    let clash = json!({ "routes": [
        { "backend": "http://127.0.0.1:1", "domains": ["a.example"] },
        { "backend": "http://127.0.0.1:2", "domains": ["a.example"] },
    ] });
    let refused = put(&api, "shop/shop-1", &clash);
    assert_eq!(refused.problem(), (409, "refused", ""));
    assert!(refused.detail().contains("is what r1 has already"), "{refused:?}");
}

#[test]
fn a_body_over_the_limit_is_refused_and_ten_thousand_routes_are_one_step() {
    let api = Api::start();
    let large =
        json!({ "backend": "http://127.0.0.1:1", "domains": ["a.example"], "metadata": { "a": "x".repeat(1 << 20) } });
    assert_eq!(put(&api, "shop/shop-1", &large).problem(), (413, "too_large", ""));
    let metadata =
        json!({ "backend": "http://127.0.0.1:1", "domains": ["a.example"], "metadata": { "a": "x".repeat(1 << 15) } });
    assert_eq!(put(&api, "shop/shop-1", &metadata).problem(), (400, "invalid", "metadata"));
    let config = |changed: usize| {
        let port = |number| if number == changed { 2 } else { 1 };
        let route = |number| json!({ "backend": format!("http://127.0.0.1:{}", port(number)), "domains": [format!("h{number}.example")] });
        json!({ "routes": (0..10_000).map(route).collect::<Vec<_>>() })
    };
    let created = put(&api, "shop/shop-1", &config(10_000));
    assert_eq!((created.status, &created.json["changes_total"]), (201, &json!(10_000)));
    assert_eq!(created.json["changes"].as_array().unwrap().len(), 1_000);
    let edited = put(&api, "shop/shop-1", &config(5_000));
    assert_eq!((edited.status, &edited.json["changes_total"]), (200, &json!(1)));
    assert_eq!(edited.json["changes"][0]["target"], "r5001");
    let shown = api.ask("GET", &at("shop/shop-1"), "", None).json;
    assert_eq!(shown["routes"].as_array().unwrap().len(), 10_000);
    assert_eq!(put(&api, "shop/shop-1", &shown).json["changes_total"], 0, "what is shown is small enough to be put");
}
