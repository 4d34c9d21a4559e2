//! The audit: every change of state is recorded with its actor, interface and address, and kept within bounds.

mod bounds;
mod lines;
mod records;
mod survival;

use std::path::Path;

use serde_json::Value;

use crate::server::Server;
use crate::support::wire::Wire;

/// An operator's GET, with a token unless it is empty.
fn get(server: &Server, target: &str, token: &str) -> Value {
    let shown = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
    let mut wire = Wire::connect(server.api);
    wire.send(format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n{shown}\r\n"));
    let answer = wire.message().expect("the API answers");
    assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// All records that a query selects, the earliest first, read in pages of three.
fn records_for(server: &Server, query: &str, token: &str) -> Vec<Value> {
    let (mut records, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(server, &format!("/v1/audit?limit=3&cursor={cursor}&{query}"), token);
        let items = page["items"].as_array().unwrap();
        assert!(items.len() <= 3, "{page}");
        records.extend(items.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    records.reverse();
    records
}

fn records(server: &Server, query: &str) -> Vec<Value> {
    records_for(server, query, "")
}

fn actions(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["action"].as_str().unwrap()).collect()
}

/// The lines of the log, each of which must be one JSON object.
fn lines(log: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}
