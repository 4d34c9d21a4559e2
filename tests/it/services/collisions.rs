//! Nobody takes an instance or a place from its holder, and everybody is told who holds it.

use super::{at, one, put};
use crate::rest::api::Api;

const BACKEND: &str = "http://127.0.0.1:1";

#[test]
fn an_instance_of_the_operators_is_not_registered_and_evicting_it_removes_it() {
    let api = Api::start();
    assert_eq!(put(&api, "shop/shop-1", &one(BACKEND, "shop.example")).status, 201);
    let mut client = api.server.connect();
    let refused = client.ask("REGISTER|shop|shop-1|9001|{}");
    let words =
        "the instance shop/shop-1 is held by the operators; register under another name, or have them remove it";
    assert_eq!(refused, format!("ERROR|{words}"));
    let who = serde_json::json!({ "service_name": "shop", "instance_name": "shop-1" });
    let over_rest = api.ask("POST", "/v1/sessions", "", Some(&who));
    assert_eq!((over_rest.problem(), over_rest.detail()), ((409, "conflict", ""), words));
    assert!(client.ask("RECONNECT|shop/shop-1@1").starts_with("REREGISTER"), "its id is no credential");
    assert_eq!(api.ask("DELETE", "/v1/instances/shop/shop-1", "", None).status, 204);
    client.register("shop", "shop-1");
}

#[test]
fn an_instance_of_a_session_is_not_put_and_the_address_is_told() {
    let api = Api::start();
    let mut client = api.server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", "127.0.0.1:1".parse().unwrap());
    let refused = put(&api, "shop/shop-1", &one(BACKEND, "other.example"));
    assert_eq!(refused.problem(), (409, "conflict", ""));
    let words =
        "the instance shop/shop-1 is held by a session from 127.0.0.1; evict it first, or name another instance";
    assert_eq!(refused.detail(), words);
    assert_eq!(api.ask("DELETE", &at("shop/shop-1"), "", None).detail(), words);
    let place = put(&api, "new/new-1", &one(BACKEND, "shop.example"));
    assert_eq!(place.problem(), (409, "conflict", ""));
    let words = "route r1: shop.example / at priority 0 is held by service shop (instance shop-1, held by a session from 127.0.0.1)";
    assert_eq!(place.detail(), words);
    assert_eq!(client.ask(&format!("PING|{session}")), "PONG");
    // Another instance of the same service shares its places.
    assert_eq!(put(&api, "shop/shop-2", &one(BACKEND, "shop.example")).status, 201);
}

#[test]
fn a_session_is_told_that_operators_hold_a_place() {
    let api = Api::start();
    put(&api, "shop/shop-1", &one(BACKEND, "shop.example"));
    let mut client = api.server.connect();
    let session = client.register("blog", "blog-1");
    assert!(client.ask(&format!("ROUTE_ADD|{session}|shop.example|/|{BACKEND}|0")).starts_with("ROUTE_OK"));
    assert_eq!(
        client.ask(&format!("CONFIG_APPLY|{session}")),
        "ERROR|route r1: shop.example / at priority 0 is held by service shop (instance shop-1, held by the operators)"
    );
}
