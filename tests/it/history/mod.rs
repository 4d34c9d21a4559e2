//! The revisions of an instance: they are kept, shown and restored at each interface, and survive every end.

mod confirmations;
mod guards;
mod operators;
mod reverts;

use serde_json::{Value, json};

use crate::interfaces::InterfaceClient;
use crate::server::Server;
use crate::support::wire::{Message, Wire};

/// Registers an instance and returns its session.
fn register(interface: &mut dyn InterfaceClient, service: &str) -> Value {
    let names = json!({ "service": service, "instance": "one", "maintenance_port": 1, "metadata": {} });
    interface.call("REGISTER", &names).unwrap()["session_id"].clone()
}

/// Stages a route and applies it.
fn serve(interface: &mut dyn InterfaceClient, session: &Value, domain: &str) {
    let route = json!({
        "session": session, "domains": [domain], "path": "/", "backend_url": "http://127.0.0.1:1", "priority": 0,
    });
    interface.call("ROUTE_ADD", &route).unwrap();
    interface.call("CONFIG_APPLY", &json!({ "session": session })).unwrap();
}

/// An operator's request.
fn operate(server: &Server, method: &str, target: &str, fields: &str, body: &str) -> Message {
    let mut wire = Wire::connect(server.api);
    let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
    let length = body.len();
    wire.send(format!(
        "{method} {target} HTTP/1.1\r\nhost: localhost\r\n{kind}{fields}content-length: {length}\r\n\r\n{body}"
    ));
    wire.message().expect("the API answers")
}

fn told(message: &Message) -> Value {
    serde_json::from_slice(&message.body).unwrap_or_else(|_| panic!("{}", message.text()))
}

/// The numbers of the revisions of an instance, the latest first.
fn numbers(server: &Server, instance: &str) -> Vec<u64> {
    let list = told(&operate(server, "GET", &format!("/v1/instances/{instance}/history"), "", ""));
    list["items"].as_array().unwrap().iter().map(|item| item["number"].as_u64().unwrap()).collect()
}
