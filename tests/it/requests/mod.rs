//! Operators see single requests: the id of each, the reasons of those that failed, the access log, and taps.

mod access_log;
mod collectors;
mod failed;
mod ids;
mod refused_clients;
mod refused_heads;
mod span_attributes;
mod spans;
mod taps;

use serde_json::Value;

use crate::server::eventually;
use crate::support::server_harness::ServerHarness;
use crate::support::wire::Message;

/// The lines of a file once there are so many, each as JSON.
pub fn json_lines(path: &std::path::Path, count: usize) -> Vec<Value> {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    eventually("the lines are written", || read().lines().count() >= count);
    let text = read();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

/// Checks the fields of a refusal that closes its connection. Returns what operators are told of its id.
fn told_of(harness: &ServerHarness, answer: &Message, error: &str) -> Value {
    let id = answer.field("x-request-id").unwrap_or_else(|| panic!("no id: {answer:?}")).to_owned();
    assert!(answer.text().contains(&id), "{answer:?}");
    let status = format!("signalbox; error={error}; request-id=\"{id}\"");
    assert_eq!(answer.field("proxy-status"), Some(&*status));
    assert_eq!(answer.field("connection"), Some("close"));
    assert!(answer.field("date").is_some());
    let listed = || harness.told("/v1/requests?limit=1000")["items"].as_array().unwrap().clone();
    eventually("it is told", || listed().iter().any(|told| told["id"] == id.as_str()));
    harness.told(&format!("/v1/requests/{id}"))
}
