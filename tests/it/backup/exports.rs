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

/// An export with an instance of a client, one whose place is taken, and one that is free.
fn mixed(server: &Server) -> Value {
    register(server, "mine.example");
    let mut export = told(server.api, "/v1/export");
    let mut other = |name: &str, domain: &str| {
        let mut one = export["instances"][0].clone();
        (one["service_name"], one["instance_name"]) = (json!("docs"), json!(name));
        one["config"]["routes"][0]["domains"] = json!([domain]);
        export["instances"].as_array_mut().unwrap().push(one);
    };
    other("docs-1", "docs.example");
    other("docs-2", "mine.example");
    export
}

#[test]
fn one_refused_instance_leaves_everything_as_it_was_and_all_refusals_are_told() {
    let place = Place::new();
    let server = place.start();
    let document = mixed(&server).to_string();
    let before = told(server.api, "/v1/export");
    let (status, problem) = import(&server, "", document.as_bytes());
    let detail = problem["detail"].as_str().unwrap();
    assert_eq!((status, &problem["kind"]), (409, &json!("conflict")), "{problem}");
    assert!(detail.starts_with("nothing was imported, because 2 of 3 instances are refused: "), "{detail}");
    assert!(detail.contains("shop/mine.example: the instance") && detail.contains("docs/docs-2: route"), "{detail}");
    assert_eq!(told(server.api, "/v1/export"), before);
    // The dry run tells of each.
    let (status, dry) = import(&server, "?dry_run=true", document.as_bytes());
    let outcomes: Vec<&Value> = dry["instances"].as_array().unwrap().iter().map(|one| &one["outcome"]).collect();
    assert_eq!(status, 200, "{dry}");
    assert_eq!(outcomes, ["refused", "created", "refused"], "{dry}");
    assert!(dry["instances"][0]["reason"].as_str().unwrap().contains("is held by a session"), "{dry}");
    assert_eq!(told(server.api, "/v1/export"), before);
    let audit = told(server.api, "/v1/audit?actor=operator");
    assert_eq!(audit["items"], json!([]), "nothing was done");
}

#[test]
fn a_partial_import_takes_what_is_not_refused() {
    let place = Place::new();
    let server = place.start();
    let (status, outcome) = import(&server, "?partial=true", mixed(&server).to_string().as_bytes());
    assert_eq!((status, &outcome["created"], &outcome["refused"]), (200, &json!(1), &json!(2)), "{outcome}");
    assert_eq!(outcome["instances"][1]["outcome"], "created");
    assert!(outcome["instances"][2]["reason"].as_str().unwrap().contains("mine.example"), "{outcome}");
}

#[test]
fn instances_that_exchange_their_places_are_imported_at_once() {
    let place = Place::new();
    let server = place.start();
    let instance = |name: &str, domain: &str| json!({ "service_name": name, "instance_name": "1", "config": { "backend": "http://127.0.0.1:9", "domains": [domain] } });
    let document = |of: [(&str, &str); 2]| {
        json!({ "format": 1, "instances": of.map(|(name, domain)| instance(name, domain)) }).to_string()
    };
    let (_, first) = import(&server, "", document([("a", "one.example"), ("b", "two.example")]).as_bytes());
    assert_eq!(first["created"], 2, "{first}");
    let (status, second) = import(&server, "", document([("a", "two.example"), ("b", "one.example")]).as_bytes());
    assert_eq!((status, &second["changed"]), (200, &json!(2)), "{second}");
    let twice = document([("a", "one.example"), ("a", "two.example")]);
    let (status, problem) = import(&server, "", twice.as_bytes());
    assert!(status == 409 && problem["detail"].as_str().unwrap().contains("a/1: is listed twice"), "{problem}");
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
