//! An export is everything that is active, in a form that an import takes back.

use serde_json::{Value, json};

use super::{Place, get, json as told, register};
use crate::server::Server;
use crate::support::wire::Wire;

fn import(server: &Server, query: &str, document: &[u8]) -> (u16, Value) {
    let mut wire = Wire::connect(server.api);
    let head = format!("content-type: application/json\r\ncontent-length: {}\r\n", document.len());
    wire.send(format!("POST /v1/import{query} HTTP/1.1\r\nhost: localhost\r\n{head}connection: close\r\n\r\n"));
    wire.send(document);
    let answer = wire.message().expect("an answer");
    (answer.status(), serde_json::from_slice(&answer.body).unwrap())
}

/// The export without the owners, which an import changes.
fn unowned(mut export: Value) -> Value {
    for instance in export["instances"].as_array_mut().unwrap() {
        instance.as_object_mut().unwrap().remove("owner");
    }
    export
}

/// Registers an instance with every kind of setting.
fn rich(server: &Server) -> String {
    let mut client = server.connect();
    let reply = client.ask("REGISTER|shop|shop-1|9001|{\"version\":\"1.4\"}");
    let session = reply.strip_prefix("ACK|").unwrap().to_owned();
    for line in [
        "ROUTE_ADD|SID|shop.example,*.shop.example|/|http://127.0.0.1:3000|0",
        "ROUTE_ADD|SID|shop.example|/cart|http://127.0.0.1:3001|7",
        "HEADERS_SET|SID|ALL|X-Frame-Options|DENY",
        "HEADERS_SET|SID|r2|X-Served-By|cart",
        "OPTIONS_SET|SID|r1|timeout|10s",
        "OPTIONS_SET|SID|ALL|retries|2",
        "HEALTH_SET|SID|r1|/health|10s|2s",
        "RATELIMIT_SET|SID|ALL|100|1m",
        "CIRCUIT_BREAKER_SET|SID|r2|5|30s|3",
        "CONFIG_APPLY|SID",
    ] {
        let reply = client.ask(&line.replace("SID", &session));
        assert!(reply.contains("OK"), "{line}: {reply}");
    }
    session
}

#[test]
fn an_export_that_is_imported_elsewhere_is_exported_there_the_same_and_changes_nothing_again() {
    let (place, other) = (Place::new(), Place::new());
    let server = place.start();
    let session = rich(&server);
    register(&server, "till.example");
    let exported = get(server.api, "/v1/export").body;
    assert!(!String::from_utf8_lossy(&exported).contains(&session), "a session id is in the export");
    assert!(get(server.api, "/v1/export").body == exported, "two exports of one state differ");
    let there = other.start();
    let (status, dry) = import(&there, "?dry_run=true", &exported);
    assert_eq!((status, &dry["created"], &dry["refused"]), (200, &json!(2), &json!(0)), "{dry}");
    assert_eq!(told(there.api, "/v1/export")["instances"], json!([]), "a dry run changes nothing");
    let (status, outcome) = import(&there, "", &exported);
    assert_eq!((status, &outcome["created"], &outcome["refused"]), (200, &json!(2), &json!(0)), "{outcome}");
    let again = told(there.api, "/v1/export");
    assert_eq!(unowned(again.clone()), unowned(serde_json::from_slice(&exported).unwrap()));
    assert_eq!(again["instances"][0]["owner"], "operator");
    let (_, outcome) = import(&there, "", again.to_string().as_bytes());
    assert_eq!((&outcome["unchanged"], &outcome["changed"]), (&json!(2), &json!(0)), "{outcome}");
}

#[test]
fn an_instance_of_a_client_is_refused_and_the_others_are_imported() {
    let place = Place::new();
    let server = place.start();
    register(&server, "mine.example");
    let mut export = told(server.api, "/v1/export");
    let mut second = export["instances"][0].clone();
    second["instance_name"] = json!("docs-1");
    second["service_name"] = json!("docs");
    second["config"]["routes"][0]["domains"] = json!(["docs.example"]);
    export["instances"].as_array_mut().unwrap().push(second);
    let (status, outcome) = import(&server, "", export.to_string().as_bytes());
    assert_eq!((status, &outcome["created"], &outcome["refused"]), (200, &json!(1), &json!(1)), "{outcome}");
    assert!(outcome["instances"][0]["reason"].is_string(), "{outcome}");
}

#[test]
fn a_wrong_document_changes_nothing_and_is_told() {
    let place = Place::new();
    let server = place.start();
    for (document, expected) in [
        (json!({ "format": 2, "instances": [] }), "format: is 2; this version reads format 1"),
        (json!({ "format": 1 }), "instances"),
        (json!({ "format": 1, "instances": [{ "service_name": "a b" }] }), "service_name"),
        (json!([]), "expected a JSON object"),
    ] {
        let (status, problem) = import(&server, "", document.to_string().as_bytes());
        assert_eq!(status, 400, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(expected), "{expected}: {problem}");
    }
    assert_eq!(import(&server, "", b"SQLite format 3\0").0, 400);
}
