//! Browsers: the documentation pages, and calls from pages of other origins.

use std::sync::{Arc, Mutex, mpsc};

use super::api::Api;
use crate::server::eventually;
use crate::support::backend::Backend;
use crate::support::wire::Wire;

#[test]
fn the_pages_about_the_api_come_whole_from_here() {
    let api = Api::start();
    let moved = api.ask("GET", "/docs", "", None);
    assert_eq!((moved.status, moved.message.field("location")), (308, Some("/docs/")));
    let front = api.ask("GET", "/docs/", "", None);
    assert_eq!((front.status, front.message.field("content-type")), (200, Some("text/html")));
    let page = front.message.text();
    assert!(page.contains("swagger-ui") && !page.contains("//cdn") && !page.contains("https://"), "{page}");
    let parts = page.split(['"', '\'']).filter_map(|part| part.strip_prefix("./"));
    for part in parts.filter(|part| [".js", ".css", ".png"].iter().any(|end| part.ends_with(end))) {
        assert_eq!(api.ask("GET", &format!("/docs/{part}"), "", None).status, 200, "{part}");
    }
    let start = api.ask("GET", "/docs/swagger-initializer.js", "", None);
    assert!(start.message.text().contains("\"/openapi.json\""), "{start:?}");
    assert!(start.message.text().contains("\"validatorUrl\": \"none\""), "{start:?}");
}

#[test]
fn the_description_that_is_served_is_the_one_that_is_checked_in() {
    let api = Api::start();
    let served = api.ask("GET", "/openapi.json", "", None);
    assert_eq!(served.message.field("content-type"), Some("application/json"));
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/openapi.json");
    let kept: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(served.json, kept);
}

#[test]
fn a_running_server_is_alive_and_ready() {
    let api = Api::start();
    for path in ["/healthz", "/readyz"] {
        let answer = api.ask("GET", path, "", None);
        assert_eq!((answer.status, answer.message.text()), (200, "ok"), "{path}");
    }
}

#[test]
fn a_server_that_stops_is_alive_and_not_ready() {
    let api = Api::start();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    // Answers its health checks, and requests once it is told to.
    let backend = Backend::new(move |mut wire| {
        while let Some(request) = wire.message() {
            if request.target() == "/slow" {
                let _ = wait.lock().unwrap().recv();
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let session = api.register("shop", "shop-1");
    api.route(&session, "shop.example", &backend.url());
    api.apply(&session);
    let mut slow = Wire::connect(api.server.proxy);
    slow.send("GET /slow HTTP/1.1\r\nhost: shop.example\r\n\r\n");
    let in_flight = || api.ask("GET", "/v1/instances/shop/shop-1", "", None).json["in_flight"] == 1;
    eventually("the request is under way", in_flight);
    api.server.signal("TERM");
    eventually("it is not ready any more", || api.ask("GET", "/readyz", "", None).status == 503);
    assert_eq!(api.ask("GET", "/readyz", "", None).problem(), (503, "unavailable", ""));
    assert_eq!(api.ask("GET", "/healthz", "", None).status, 200);
    go.send(()).unwrap();
    assert_eq!(slow.message().unwrap().status(), 200);
    assert!(api.server.wait().success());
}

const PREFLIGHT: &str = "access-control-request-method: PUT\r\naccess-control-request-headers: authorization\r\n";

#[test]
fn pages_of_other_origins_may_call_only_if_they_are_named() {
    let api = Api::with(&["--api-cors", "https://board.example"]);
    let ask = |origin: &str| api.send("OPTIONS", "/v1/session/drain", &format!("origin: {origin}\r\n{PREFLIGHT}"), "");
    let named = ask("https://board.example");
    assert_eq!(named.status, 200);
    assert_eq!(named.message.field("access-control-allow-origin"), Some("https://board.example"));
    assert!(named.message.field("access-control-allow-methods").unwrap().contains("PUT"));
    assert!(named.message.field("access-control-allow-headers").unwrap().contains("authorization"));
    assert_eq!(ask("https://other.example").message.field("access-control-allow-origin"), None);
    let read = |origin: &str| api.send("GET", "/v1/overview", &format!("origin: {origin}\r\n"), "");
    assert_eq!(
        read("https://board.example").message.field("access-control-allow-origin"),
        Some("https://board.example")
    );
    assert_eq!(read("https://other.example").message.field("access-control-allow-origin"), None);
}

#[test]
fn no_origin_is_named_by_default() {
    let api = Api::start();
    let asked = api.send("OPTIONS", "/v1/session/drain", &format!("origin: https://board.example\r\n{PREFLIGHT}"), "");
    assert_eq!(asked.problem(), (405, "method_not_allowed", ""));
    assert_eq!(asked.message.field("access-control-allow-origin"), None);
}

#[test]
fn a_page_of_another_origin_changes_nothing_although_this_machine_needs_no_token() {
    let api = Api::with(&["--api-cors", "https://board.example"]);
    let own = format!("http://{}", api.server.api);
    let change = |origin: &str| api.send("POST", "/v1/reload", &format!("origin: {origin}\r\n"), "");
    for stranger in ["https://other.example", "http://localhost:1", "null", "http://127.0.0.1"] {
        let answer = change(stranger);
        assert_eq!(answer.problem().0, 403, "{stranger}");
        assert!(answer.message.text().contains("another origin"), "{answer:?}");
        let read = api.send("GET", "/v1/overview", &format!("origin: {stranger}\r\n"), "");
        assert_eq!(read.status, 200, "it changes nothing, and the page cannot read it");
    }
    for known in [own.as_str(), "https://board.example"] {
        assert_ne!(change(known).status, 403, "{known}");
    }
}
