//! The client of the REST interface.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Answer, InterfaceClient, Refusal, text, texts};
use crate::support::wire::Wire;

pub struct Rest(SocketAddr);

impl Rest {
    pub fn connect(address: SocketAddr) -> Self {
        Self(address)
    }

    fn ask(&self, session: &str, method: &str, path: &str, body: &Value) -> Answer {
        let mut wire = Wire::connect(self.0);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let bearer = if session.is_empty() { String::new() } else { format!("authorization: Bearer {session}\r\n") };
        wire.send(format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\n{bearer}{kind}content-length: {}\r\n\r\n{body}",
            self.0,
            body.len()
        ));
        let answer = wire.message().expect("an answer");
        let payload: Value =
            if answer.body.is_empty() { json!({}) } else { serde_json::from_slice(&answer.body).expect("JSON") };
        if answer.status() < 400 {
            return Ok(payload);
        }
        assert_eq!(answer.field("content-type"), Some("application/problem+json"));
        let kind = if answer.status() == 401 { "invalid_session" } else { text(&payload, "kind") };
        Err(Refusal { kind: Some(kind.to_owned()), message: text(&payload, "detail").to_owned() })
    }
}

impl InterfaceClient for Rest {
    fn name(&self) -> &'static str {
        "REST"
    }

    fn call(&mut self, verb: &str, arguments: &Value) -> Answer {
        let (method, path, body) = request(verb, arguments);
        let answer = self.ask(text(arguments, "session"), method, &path, &body)?;
        Ok(match verb {
            "ROUTE_ADD_BULK" => {
                let added = answer.as_array().unwrap_or_else(|| panic!("{answer}"));
                added.iter().map(|added| added["route_id"].clone()).collect()
            }
            "CONFIG_HISTORY" => answer["items"].clone(),
            "CONFIG_REVERT" => json!({ "number": answer["number"] }),
            // An array here in any case; the other interfaces answer for one route with an object.
            "STATS_GET" if text(arguments, "target") != "ALL" => answer[0].clone(),
            _ => answer,
        })
    }
}

/// Those of the arguments that a body has.
fn body(arguments: &Value, names: &[&str]) -> Value {
    let given = names.iter().filter(|name| !arguments[**name].is_null());
    given.map(|name| ((*name).to_owned(), arguments[*name].clone())).collect::<serde_json::Map<_, _>>().into()
}

/// A segment of a path, whatever it holds.
fn segment(arguments: &Value, name: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text(arguments, name).bytes().map(escape).collect()
}

fn request(verb: &str, given: &Value) -> (&'static str, String, Value) {
    let at = |path: &str| format!("/v1/session{path}");
    let of = |path: &str, name: &str| at(&format!("{path}/{}", segment(given, name)));
    let both = |path: &str, name: &str| format!("{}/{}", of(path, "target"), segment(given, name));
    let has = |names: &[&str]| body(given, names);
    match verb {
        "REGISTER" => ("POST", "/v1/sessions".to_owned(), registration(given)),
        "RECONNECT" => ("POST", at("/reconnect"), Value::Null),
        "PING" => ("POST", at("/ping"), Value::Null),
        "SESSION_INFO" => ("GET", at(""), Value::Null),
        "CLIENT_SHUTDOWN" => ("DELETE", at(""), Value::Null),
        "ROUTE_ADD" => ("POST", at("/routes"), has(&["domains", "path", "backend_url", "priority"])),
        "ROUTE_ADD_BULK" => ("POST", at("/routes/bulk"), given["routes"].clone()),
        "ROUTE_UPDATE" => ("PATCH", of("/routes", "route_id"), has(&["domains", "path", "backend_url", "priority"])),
        "ROUTE_REMOVE" => ("DELETE", of("/routes", "route_id"), Value::Null),
        "ROUTE_LIST" => ("GET", at("/routes"), Value::Null),
        "HEADERS_SET" => ("PUT", both("/headers", "name"), has(&["value"])),
        "HEADERS_REMOVE" => ("DELETE", both("/headers", "name"), Value::Null),
        "OPTIONS_SET" => ("PUT", both("/options", "key"), has(&["value"])),
        "OPTIONS_REMOVE" => ("DELETE", both("/options", "key"), Value::Null),
        "HEALTH_SET" => ("PUT", of("/health-checks", "route_id"), has(&["path", "interval", "timeout"])),
        "RATELIMIT_SET" => ("PUT", of("/rate-limits", "target"), has(&["requests", "window"])),
        "CIRCUIT_BREAKER_SET" => {
            ("PUT", of("/circuit-breakers", "target"), has(&["threshold", "timeout", "half_open_requests"]))
        }
        "HEALTH_REMOVE" => ("DELETE", of("/health-checks", "route_id"), Value::Null),
        "RATELIMIT_REMOVE" => ("DELETE", of("/rate-limits", "target"), Value::Null),
        "CIRCUIT_BREAKER_REMOVE" => ("DELETE", of("/circuit-breakers", "target"), Value::Null),
        "CIRCUIT_BREAKER_STATUS" => ("GET", of("/circuit-breakers", "route_id"), Value::Null),
        "CIRCUIT_BREAKER_RESET" => ("POST", format!("{}/reset", of("/circuit-breakers", "route_id")), Value::Null),
        "CONFIG_VALIDATE" => ("POST", at("/config/validate"), Value::Null),
        "CONFIG_APPLY" => ("POST", at("/config/apply"), Value::Null),
        "CONFIG_APPLY_PARTIAL" => ("POST", at("/config/apply"), json!({ "scopes": texts(given, "scopes") })),
        "CONFIG_ROLLBACK" => ("POST", at("/config/rollback"), Value::Null),
        "CONFIG_APPLY_WITH" => ("POST", at("/config/apply"), given["options"].clone()),
        "CONFIG_CONFIRM" => ("POST", format!("/v1/confirmations/{}", segment(given, "confirmation_id")), Value::Null),
        "CONFIG_CANCEL" => ("DELETE", format!("/v1/confirmations/{}", segment(given, "confirmation_id")), Value::Null),
        "CONFIG_HISTORY" => ("GET", at("/config/history"), Value::Null),
        "CONFIG_REVERT" => ("POST", at(&format!("/config/history/{}/revert", given["number"])), Value::Null),
        "CONFIG_DIFF" => ("GET", at("/config/diff"), Value::Null),
        "DRAIN_START" => ("PUT", at("/drain"), has(&["duration"])),
        "DRAIN_STATUS" => ("GET", at("/drain"), Value::Null),
        "DRAIN_CANCEL" => ("DELETE", at("/drain"), Value::Null),
        "MAINT_ENTER" => ("PUT", of("/maintenance", "target"), has(&["page_url"])),
        "MAINT_EXIT" => ("DELETE", of("/maintenance", "target"), Value::Null),
        "MAINT_STATUS" => ("GET", at("/maintenance"), Value::Null),
        "STATS_GET" => ("GET", at(&format!("/stats?target={}", segment(given, "target"))), Value::Null),
        "BACKEND_TEST" => ("POST", at("/backend-tests"), has(&["backend_url"])),
        "UNSUBSCRIBE" => ("DELETE", of("/events", "event_type"), Value::Null),
        other => panic!("{other} is no call of this interface"),
    }
}

fn registration(given: &Value) -> Value {
    let mut body = body(given, &["maintenance_port", "metadata", "lease"]);
    body["service_name"] = given["service"].clone();
    body["instance_name"] = given["instance"].clone();
    body
}
