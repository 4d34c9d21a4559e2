//! `api.publish`: the dashboard under a domain of the proxy.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use crate::server::{Backend, Server, eventually};
use crate::support::wire::{Message, Wire};

const TOKEN: &str = "0123456789abcdef";
const DOMAIN: &str = "admin.example";

fn start(folder: &Path) -> Server {
    Server::start_with(folder, &["--api-operator-tokens", TOKEN, "--api-publish", DOMAIN])
}

fn ask(address: SocketAddr, method: &str, target: &str, fields: &str) -> Message {
    let mut wire = Wire::connect(address);
    let length = if method == "GET" { "" } else { "content-length: 0\r\n" };
    wire.send(format!("{method} {target} HTTP/1.1\r\nhost: {DOMAIN}\r\n{length}{fields}\r\n"));
    // A stream of events goes on for ever.
    if target.ends_with("events") { wire.head() } else { wire.message() }.unwrap()
}

fn bearer() -> String {
    format!("authorization: Bearer {TOKEN}\r\n")
}

#[test]
fn the_domain_has_the_dashboard_and_what_operators_need_and_nothing_for_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path());
    let page = ask(server.proxy, "GET", "/", "accept: text/html\r\n");
    assert_eq!((page.status(), page.field("content-type")), (200, Some("text/html; charset=utf-8")));
    let script = page.text().split('"').find(|part| part.ends_with("main.js")).unwrap().to_owned();
    assert_eq!(ask(server.proxy, "GET", &format!("/{script}"), "").status(), 200);

    for path in ["/v1/overview", "/v1/instances", "/v1/events", "/metrics"] {
        assert_eq!(ask(server.proxy, "GET", path, "").status(), 401, "{path}");
        assert_eq!(ask(server.proxy, "GET", path, &bearer()).status(), 200, "{path}");
    }
    let listed = ask(server.proxy, "GET", "/v1/instances", &bearer());
    let listed: Value = serde_json::from_str(listed.text()).unwrap();
    let own = &listed["items"][0];
    assert_eq!((&own["service_name"], &own["instance_name"]), (&json!("signalbox"), &json!("dashboard")));
    let drained = ask(server.proxy, "DELETE", "/v1/instances/signalbox/dashboard/drain", &bearer());
    assert_eq!(drained.status(), 409, "no drain is running: {}", drained.text());

    let sessions = ["/v1/sessions", "/v1/session", "/v1/session/routes", "/v1/session/config/apply", "/v1/session%73"];
    for path in sessions {
        for method in ["GET", "POST"] {
            assert_eq!(ask(server.proxy, method, path, &bearer()).status(), 404, "{method} {path}");
        }
    }
    let call = "content-type: application/grpc\r\nte: trailers\r\n";
    let answer = ask(server.proxy, "POST", "/signalbox.v1.Registry/Register", call);
    assert_eq!((answer.status(), answer.field("grpc-status")), (404, None));
    assert_eq!(ask(server.proxy, "GET", "/healthz", "").status(), 200);
}

#[test]
fn the_domain_follows_the_server_through_restarts_and_goes_with_the_key() {
    let folder = tempfile::tempdir().unwrap();
    drop(start(folder.path()));
    let server = start(folder.path());
    assert_eq!(ask(server.proxy, "GET", "/v1/overview", &bearer()).status(), 200);
    drop(server);
    let server = Server::start(folder.path());
    assert_eq!(ask(server.proxy, "GET", "/v1/overview", &bearer()).status(), 404);
}

#[test]
fn a_service_that_has_the_domain_keeps_it_and_operators_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start("first");
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("first", "first-1");
    client.serve(&session, DOMAIN, "/", backend.address);
    drop((client, server));
    let server = start(folder.path());
    assert!(server.get(DOMAIN, "/").1.starts_with("first"));
    let overview = || -> Value {
        let mut wire = Wire::connect(server.api);
        wire.send(format!("GET /v1/overview HTTP/1.1\r\nhost: localhost\r\n{}\r\n", bearer()));
        serde_json::from_str(wire.message().unwrap().text()).unwrap()
    };
    eventually("operators are told", || {
        let problem = &overview()["config_problems"][0];
        problem["file"] == "api.publish" && problem["message"].as_str().unwrap().contains("service first")
    });
}

#[test]
fn nothing_is_published_that_would_need_no_token_or_could_not_be_reached() {
    let folder = tempfile::tempdir().unwrap();
    for (flags, words) in [
        (&["--api-publish", DOMAIN][..], "there is no operator token"),
        (&["--api-publish", "*.example", "--api-operator-tokens", TOKEN], "`*.example` is not one domain"),
        (&["--api-publish", "a.example/admin", "--api-operator-tokens", TOKEN], "is not one domain"),
        (
            &["--api-publish", DOMAIN, "--api-operator-tokens", TOKEN, "--backends-deny", "127.0.0.0/8"],
            "backends.deny forbids 127.0.0.1",
        ),
    ] {
        let ended = Server::command(folder.path()).args(flags).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(!ended.status.success() && said.contains(words), "{flags:?}: {said}");
    }
}
