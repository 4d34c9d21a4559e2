//! Instances that operators hold: put over REST and gRPC, with traffic, collisions, restarts and wrong input.

mod collisions;
mod puts;
mod survival;
mod wrong;

use serde_json::{Value, json};

use crate::rest::api::{Answer, Api};

/// The place of an instance.
fn at(instance: &str) -> String {
    let (service, instance) = instance.split_once('/').unwrap();
    format!("/v1/services/{service}/instances/{instance}")
}

fn put(api: &Api, instance: &str, config: &Value) -> Answer {
    api.ask("PUT", &at(instance), "", Some(config))
}

/// The same with header fields of one's own.
fn put_with(api: &Api, instance: &str, fields: &str, config: &Value) -> Answer {
    api.send("PUT", &at(instance), &format!("{fields}\r\ncontent-type: application/json\r\n"), &config.to_string())
}

fn one(backend: &str, domain: &str) -> Value {
    json!({ "backend": backend, "domains": [domain] })
}
