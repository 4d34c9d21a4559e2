//! The three interfaces offer the same calls, and refuse the same input with the same kind and words.

use std::collections::BTreeSet;

use prost::Message as _;
use serde_json::{Value, json};
use signalbox::{grpc, pipe, rest};

use crate::interfaces::{self, Refusal};
use crate::server::Server;

/// The verbs of the pipe whose rpc has other words than they have. `HEADERS_SET` would be `SetHeaders`.
const OTHER_WORDS: [(&str, &str); 20] = [
    ("SESSION_INFO", "GetSession"),
    ("CLIENT_SHUTDOWN", "EndSession"),
    ("ROUTE_ADD_BULK", "AddRoutes"),
    ("ROUTE_LIST", "ListRoutes"),
    ("HEADERS_SET", "SetHeader"),
    ("HEADERS_REMOVE", "RemoveHeader"),
    ("OPTIONS_SET", "SetOption"),
    ("OPTIONS_REMOVE", "RemoveOption"),
    ("HEALTH_SET", "SetHealthCheck"),
    ("HEALTH_REMOVE", "RemoveHealthCheck"),
    ("RATELIMIT_SET", "SetRateLimit"),
    ("RATELIMIT_REMOVE", "RemoveRateLimit"),
    ("CIRCUIT_BREAKER_STATUS", "GetCircuitBreaker"),
    ("CONFIG_APPLY_PARTIAL", "ApplyConfigPartial"),
    ("CONFIG_HISTORY", "ListConfigHistory"),
    ("CONFIG_APPLY_WITH", "ApplyConfig"),
    ("DRAIN_STATUS", "GetDrain"),
    ("MAINT_ENTER", "EnterMaintenance"),
    ("MAINT_EXIT", "ExitMaintenance"),
    ("MAINT_STATUS", "GetMaintenance"),
];
/// The calls for services that only gRPC and REST have.
const TYPED: [&str; 2] = ["GetConfig", "GetConfigRevision"];
/// The rpc whose operation is that of another one: `applyConfig`, with scopes in its body.
const WITHOUT_OPERATION: &str = "ApplyConfigPartial";

/// The operation that has no rpc: scrapers speak HTTP/1.1.
const WITHOUT_RPC: &str = "getMetrics";

/// Returns the rpc of a verb: `ROUTE_ADD` is `AddRoute`, the last word first.
fn rpc_of(verb: &str) -> String {
    if let Some((_, rpc)) = OTHER_WORDS.iter().find(|(other, _)| *other == verb) {
        return (*rpc).to_owned();
    }
    let mut words: Vec<&str> = verb.split('_').collect();
    words.rotate_right(1);
    words.iter().map(|word| word[..1].to_owned() + &word[1..].to_lowercase()).collect()
}

/// Returns the operation of an rpc: `AddRoute` is `addRoute`.
fn operation_of(rpc: &str) -> String {
    rpc[..1].to_lowercase() + &rpc[1..]
}

fn rpcs(service: &str) -> BTreeSet<String> {
    let files = prost_types::FileDescriptorSet::decode(grpc::proto::DESCRIPTORS).unwrap();
    let services = files.file.into_iter().flat_map(|file| file.service);
    let methods = services.filter(|found| found.name() == service).flat_map(|found| found.method);
    methods.map(|method| method.name().to_owned()).collect()
}

fn operations() -> BTreeSet<String> {
    let document: Value = serde_json::to_value(rest::document()).unwrap();
    let paths = document["paths"].as_object().unwrap().values();
    let calls = paths.flat_map(|path| path.as_object().unwrap().values());
    calls.filter_map(|call| call["operationId"].as_str()).map(str::to_owned).collect()
}

#[test]
fn the_three_interfaces_offer_the_same_calls() {
    let verbs = pipe::verbs().map(rpc_of);
    assert_eq!(rpcs("Registry"), verbs.chain(TYPED.map(str::to_owned)).collect());
    let named = rpcs("Registry").into_iter().chain(rpcs("Operator")).filter(|rpc| rpc != WITHOUT_OPERATION);
    let named = named.map(|rpc| operation_of(&rpc)).chain([WITHOUT_RPC.to_owned()]);
    assert_eq!(operations(), named.collect());
}

/// Wrong input, and the kind that it is refused with. `SESSION` stands for a session that has the active route r1.
fn wrong() -> Vec<(&'static str, Value, &'static str)> {
    let route = |domain: &str, path: &str, backend: &str| json!({ "domains": [domain], "path": path, "backend_url": backend, "priority": 0 });
    let long = "x".repeat(129);
    vec![
        ("REGISTER", json!({ "service": "a b", "instance": "i", "maintenance_port": 1, "metadata": {} }), "invalid"),
        ("REGISTER", json!({ "service": "s", "instance": long, "maintenance_port": 1, "metadata": {} }), "invalid"),
        ("REGISTER", json!({ "service": "s", "instance": "i", "maintenance_port": 65536, "metadata": {} }), "invalid"),
        ("PING", json!({ "session": "nobody-1-2" }), "invalid_session"),
        ("CONFIG_APPLY", json!({ "session": "nobody-1-2" }), "invalid_session"),
        ("ROUTE_ADD", route("shop.example:80", "/", "http://b"), "invalid"),
        ("ROUTE_ADD", route("*.*.example", "/", "http://b"), "invalid"),
        ("ROUTE_ADD", route("a.example", "x", "http://b"), "invalid"),
        ("ROUTE_ADD", route("a.example", "/../x", "http://b"), "invalid"),
        ("ROUTE_ADD", route("a.example", "/", "ftp://b"), "invalid"),
        ("ROUTE_ADD", route("a.example", "/", "http://user@b"), "invalid"),
        ("ROUTE_UPDATE", json!({ "route_id": "r9", "priority": 1 }), "not_found"),
        ("ROUTE_UPDATE", json!({ "route_id": "9", "priority": 1 }), "invalid"),
        ("ROUTE_UPDATE", json!({ "route_id": "r1", "backend_url": "gopher://b" }), "invalid"),
        ("ROUTE_REMOVE", json!({ "route_id": "r9" }), "not_found"),
        ("HEADERS_SET", json!({ "target": "r9", "name": "x-a", "value": "1" }), "not_found"),
        ("HEADERS_SET", json!({ "target": "some", "name": "x-a", "value": "1" }), "invalid"),
        ("HEADERS_SET", json!({ "target": "ALL", "name": "connection", "value": "close" }), "invalid"),
        ("HEADERS_SET", json!({ "target": "ALL", "name": "x a", "value": "1" }), "invalid"),
        ("OPTIONS_SET", json!({ "target": "ALL", "key": "retries", "value": "many" }), "invalid"),
        ("HEALTH_SET", json!({ "route_id": "r9", "path": "/", "interval": "1s", "timeout": "1s" }), "not_found"),
        ("HEALTH_SET", json!({ "route_id": "r1", "path": "health", "interval": "1s", "timeout": "1s" }), "invalid"),
        ("RATELIMIT_SET", json!({ "target": "ALL", "requests": 0, "window": "1m" }), "invalid"),
        (
            "CIRCUIT_BREAKER_SET",
            json!({ "target": "ALL", "threshold": 0, "timeout": "1s", "half_open_requests": 1 }),
            "invalid",
        ),
        ("HEALTH_REMOVE", json!({ "route_id": "ALL" }), "invalid"),
        ("RATELIMIT_REMOVE", json!({ "target": "some" }), "invalid"),
        ("CIRCUIT_BREAKER_REMOVE", json!({ "target": "1" }), "invalid"),
        ("CIRCUIT_BREAKER_STATUS", json!({ "route_id": "r9" }), "not_found"),
        ("CIRCUIT_BREAKER_RESET", json!({ "route_id": "r1" }), "refused"),
        ("DRAIN_STATUS", json!({}), "refused"),
        ("DRAIN_CANCEL", json!({}), "refused"),
        ("CONFIG_APPLY_WITH", json!({ "options": { "confirm_within": "25h" } }), "invalid"),
        ("CONFIG_APPLY_WITH", json!({ "options": { "guard": true } }), "invalid"),
        ("CONFIG_CONFIRM", json!({ "confirmation_id": "c0ffee" }), "not_found"),
        ("CONFIG_CANCEL", json!({ "confirmation_id": "c0ffee" }), "not_found"),
        ("CONFIG_REVERT", json!({ "number": 9 }), "not_found"),
        ("CONFIG_REVERT", json!({ "number": 0 }), "not_found"),
        ("MAINT_ENTER", json!({ "target": "r9" }), "not_found"),
        ("MAINT_ENTER", json!({ "target": "nowhere.example" }), "not_found"),
        ("MAINT_ENTER", json!({ "target": "r1", "page_url": "page" }), "invalid"),
        ("STATS_GET", json!({ "target": "r9" }), "not_found"),
    ]
}

/// Returns the words without the field, because each interface has its own name for the field.
fn sentence(message: &str) -> &str {
    let field = |name: &str| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    match message.split_once(": ") {
        Some((name, rest)) if field(name) => sentence(rest),
        _ => message,
    }
}

#[test]
fn the_same_wrong_input_is_refused_with_the_same_kind_and_words_at_every_interface() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", "127.0.0.1:1".parse().unwrap());
    let mut interfaces = interfaces::all(&server);
    let mut unlike = Vec::new();
    for (verb, mut arguments, kind) in wrong() {
        if arguments["session"].is_null() {
            arguments["session"] = json!(session);
        }
        let refusals: Vec<(&str, Refusal)> = interfaces
            .iter_mut()
            .map(|interface| {
                let answer = interface.call(verb, &arguments);
                (interface.name(), answer.expect_err(&format!("{} {verb} {arguments}", interface.name())))
            })
            .collect();
        // REST has words of its own for the way to a new session.
        let words = sentence(&refusals[0].1.message).trim_end_matches("REGISTER again");
        let alike = refusals.iter().all(|(_, refusal)| {
            sentence(&refusal.message).starts_with(words) && refusal.kind.as_deref().is_none_or(|found| found == kind)
        });
        if !alike {
            unlike.push(format!("{verb} {arguments}, {kind}\n  {refusals:?}"));
        }
        assert!(!words.contains(&session), "a refusal tells the session");
    }
    assert!(unlike.is_empty(), "{}", unlike.join("\n"));
    assert_eq!(client.ask(&format!("CONFIG_DIFF|{session}")).matches("[]").count(), 4, "nothing of it took effect");
}
