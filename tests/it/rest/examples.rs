//! The examples of the description: the prefilled requests, sent one after another, and the refusals.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::server::Server;
use crate::support::wire::{Message, Wire};

/// A request on a connection of its own; of a stream only the head is read.
fn send(server: &Server, method: &str, target: &str, fields: &str, body: Option<&Value>, is_stream: bool) -> Message {
    let body = body.map(Value::to_string).unwrap_or_default();
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
    let mut wire = Wire::connect(server.api);
    wire.send(format!(
        "{method} {target} HTTP/1.1\r\nhost: {}\r\n{fields}{kind}{length}connection: close\r\n\r\n{body}",
        server.api
    ));
    if is_stream { wire.head() } else { wire.message() }.expect("an answer")
}

fn bearer(token: &str) -> String {
    if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") }
}

/// The value that a page fills in for a schema; none if it fills in nothing.
fn prefilled(api: &Value, schema: &Value) -> Option<Value> {
    if let Some(name) = schema["$ref"].as_str() {
        return prefilled(api, api.pointer(name.trim_start_matches('#')).unwrap());
    }
    let given = [&schema["example"], &schema["examples"][0], &schema["default"], &schema["enum"][0]];
    if let Some(given) = given.into_iter().find(|given| !given.is_null()) {
        return Some(given.clone());
    }
    if let Some(choice) = schema["oneOf"].as_array() {
        return choice.iter().find_map(|choice| prefilled(api, choice));
    }
    let properties = schema["properties"].as_object()?;
    let filled = properties.iter().filter_map(|(name, schema)| Some((name.clone(), prefilled(api, schema)?)));
    Some(Value::Object(filled.collect()))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Returns the target and the header fields with the prefilled parameters.
fn parameters(api: &Value, path: &str, operation: &Value) -> (String, String) {
    let (mut target, mut query, mut fields) = (path.to_owned(), Vec::new(), String::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        let own = Some(parameter["example"].clone()).filter(|example| !example.is_null());
        let place = parameter["in"].as_str().unwrap();
        // A header field is filled in only where the call itself names a value.
        let of_schema = || (place != "header").then(|| prefilled(api, &parameter["schema"])).flatten();
        let Some(value) = own.or_else(of_schema) else { continue };
        match place {
            "path" => target = target.replace(&format!("{{{name}}}"), &text(&value)),
            "query" => query.push(format!("{name}={}", text(&value))),
            _ => fields += &format!("{name}: {}\r\n", text(&value)),
        }
    }
    (if query.is_empty() { target } else { format!("{target}?{}", query.join("&")) }, fields)
}

#[test]
fn the_prefilled_examples_succeed_one_after_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let api: Value = serde_json::from_slice(&send(&server, "GET", "/openapi.json", "", None, false).body).unwrap();
    let mut calls = BTreeMap::new();
    for (path, item) in api["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            calls.insert(operation["operationId"].as_str().unwrap(), (method.to_uppercase(), path, operation));
        }
    }
    let order: Vec<&str> = api["x-call-order"].as_array().unwrap().iter().map(|call| call.as_str().unwrap()).collect();
    assert!(order.len() > 50, "{order:?}");
    let mut session = String::new();
    for call in order {
        let (method, path, operation) = calls.get(call).unwrap_or_else(|| panic!("there is no call {call}"));
        let (target, mut fields) = parameters(&api, path, operation);
        if operation["security"][0]["session"].is_array() {
            fields += &bearer(&session);
        }
        let content = &operation["requestBody"]["content"]["application/json"];
        let own = Some(content["example"].clone()).filter(|example| !example.is_null());
        let body = own.or_else(|| content["schema"].is_object().then(|| prefilled(&api, &content["schema"])).flatten());
        let is_stream = operation["responses"]["200"]["content"]["text/event-stream"].is_object();
        let answer = send(&server, method, &target, &fields, body.as_ref(), is_stream);
        let said = String::from_utf8_lossy(&answer.body);
        assert!((200..300).contains(&answer.status()), "{call}: {method} {target} {body:?}: {} {said}", answer.line);
        if call == "register" {
            let opened: Value = serde_json::from_slice(&answer.body).unwrap();
            opened["session_id"].as_str().unwrap().clone_into(&mut session);
        }
    }
}

#[test]
fn each_example_of_a_refusal_is_the_answer_to_its_request() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi/refusals.json");
    let mut entries: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert!(entries.len() > 60);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let open = |service: &str| {
        let body =
            json!({ "service_name": service, "instance_name": format!("{service}-1"), "maintenance_port": 9001 });
        let opened = send(&server, "POST", "/v1/sessions", "", Some(&body), false);
        serde_json::from_slice::<Value>(&opened.body).unwrap()["session_id"].as_str().unwrap().to_owned()
    };
    let given = |body: &Value| Some(body.clone()).filter(|body| !body.is_null());
    let mut wrong = Vec::new();
    for entry in &mut entries {
        let (session, other) = (open("shop"), open("till"));
        let token = |caller: &Value| match caller.as_str().unwrap() {
            "session" => session.clone(),
            "other" => other.clone(),
            "stranger" => "ended".to_owned(),
            _ => String::new(),
        };
        for step in entry["before"].as_array().unwrap() {
            let (method, target) = (step[1].as_str().unwrap(), step[2].as_str().unwrap());
            let answer = send(&server, method, target, &bearer(&token(&step[0])), given(&step[3]).as_ref(), false);
            assert!(answer.status() < 300, "{entry}: {step}: {}", answer.text());
        }
        let (method, target) = (entry["request"][0].as_str().unwrap(), entry["request"][1].as_str().unwrap());
        let condition = entry["if_match"].as_str().map(|tag| format!("if-match: {tag}\r\n")).unwrap_or_default();
        let fields = bearer(&token(&entry["as"])) + &condition;
        let answer = send(&server, method, target, &fields, given(&entry["request"][2]).as_ref(), false);
        assert_eq!(json!(answer.status()), entry["status"], "{entry}: {}", answer.text());
        let problem: Value = serde_json::from_slice(&answer.body).unwrap();
        if problem != entry["problem"] {
            wrong.push(format!("{} {}: {problem}", entry["call"], entry["status"]));
            entry["problem"] = problem;
        }
        for token in [session, other] {
            send(&server, "DELETE", "/v1/session", &bearer(&token), None, false);
        }
    }
    if std::env::var_os("SIGNALBOX_REGENERATE").is_some() {
        return std::fs::write(&path, serde_json::to_string_pretty(&entries).unwrap() + "\n").unwrap();
    }
    let cure =
        "SIGNALBOX_REGENERATE=1 cargo test --test it examples, then SIGNALBOX_REGENERATE=1 cargo test --lib rest";
    assert!(wrong.is_empty(), "openapi/refusals.json has other answers; run `{cure}`:\n{}", wrong.join("\n"));
}
