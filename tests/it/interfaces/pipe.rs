//! The client of the pipe.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Answer, InterfaceClient, Refusal, text, texts};
use crate::server::Client;

pub struct Pipe {
    address: SocketAddr,
    client: Client,
}

impl Pipe {
    pub fn connect(address: SocketAddr) -> Self {
        Self { address, client: Client::connect(address) }
    }
}

impl InterfaceClient for Pipe {
    fn name(&self) -> &'static str {
        "pipe"
    }

    fn call(&mut self, verb: &str, arguments: &Value) -> Answer {
        let reply = self.client.ask(&line(verb, arguments));
        if reply == "SHUTDOWN_OK" {
            // The server closes this one.
            self.client = Client::connect(self.address);
        }
        let (word, rest) = reply.split_once('|').unwrap_or((&reply, ""));
        match word {
            "ERROR" => Err(Refusal { kind: None, message: rest.to_owned() }),
            "REREGISTER" => Err(Refusal {
                kind: None,
                message: "invalid session: it has ended or never was; REGISTER again".to_owned(),
            }),
            _ => Ok(payload(verb, rest)),
        }
    }
}

fn line(verb: &str, arguments: &Value) -> String {
    let field = |name: &str| match &arguments[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(_) => texts(arguments, name).join(","),
        other => other.to_string(),
    };
    let mut fields = vec![verb.to_owned()];
    fields.extend(fields_of(verb).iter().map(|name| match *name {
        "routes" | "metadata" | "options" => arguments[*name].to_string(),
        name => field(name),
    }));
    if verb == "ROUTE_UPDATE" {
        let changed =
            ["backend_url", "priority", "domains", "path"].into_iter().find(|name| !arguments[*name].is_null());
        let changed = changed.expect("one field changes");
        fields.extend([changed.to_owned(), field(changed)]);
    }
    if verb == "MAINT_ENTER" && !text(arguments, "page_url").is_empty() {
        fields.push(field("page_url"));
    }
    fields.join("|")
}

/// The fields of a line behind its verb.
fn fields_of(verb: &str) -> &'static [&'static str] {
    match verb {
        "REGISTER" => &["service", "instance", "maintenance_port", "metadata"],
        "ROUTE_ADD" => &["session", "domains", "path", "backend_url", "priority"],
        "ROUTE_ADD_BULK" => &["session", "routes"],
        "ROUTE_UPDATE" | "ROUTE_REMOVE" | "HEALTH_REMOVE" | "CIRCUIT_BREAKER_STATUS" | "CIRCUIT_BREAKER_RESET" => {
            &["session", "route_id"]
        }
        "HEADERS_SET" => &["session", "target", "name", "value"],
        "HEADERS_REMOVE" => &["session", "target", "name"],
        "OPTIONS_SET" => &["session", "target", "key", "value"],
        "OPTIONS_REMOVE" => &["session", "target", "key"],
        "HEALTH_SET" => &["session", "route_id", "path", "interval", "timeout"],
        "RATELIMIT_SET" => &["session", "target", "requests", "window"],
        "CIRCUIT_BREAKER_SET" => &["session", "target", "threshold", "timeout", "half_open_requests"],
        "CONFIG_APPLY_PARTIAL" => &["session", "scopes"],
        "CONFIG_REVERT" => &["session", "number"],
        "CONFIG_APPLY_WITH" => &["session", "options"],
        "CONFIG_CONFIRM" | "CONFIG_CANCEL" => &["confirmation_id"],
        "DRAIN_START" => &["session", "duration"],
        "RATELIMIT_REMOVE" | "CIRCUIT_BREAKER_REMOVE" | "MAINT_ENTER" | "MAINT_EXIT" | "STATS_GET" => {
            &["session", "target"]
        }
        "BACKEND_TEST" => &["session", "backend_url"],
        "SUBSCRIBE" | "UNSUBSCRIBE" => &["session", "event_type"],
        _ => &["session"],
    }
}

fn payload(verb: &str, rest: &str) -> Value {
    match verb {
        "REGISTER" => json!({ "session_id": rest }),
        "ROUTE_ADD" => json!({ "route_id": rest }),
        "ROUTE_ADD_BULK" => {
            let added: Value = serde_json::from_str(rest).unwrap();
            added.as_array().unwrap().iter().map(|added| added["route_id"].clone()).collect()
        }
        "DRAIN_START" => json!({ "completes_at": rest }),
        "CONFIG_REVERT" => json!({ "number": rest.parse::<u64>().unwrap() }),
        _ if rest.starts_with(['{', '[']) => serde_json::from_str(rest).unwrap(),
        _ => json!({}),
    }
}
