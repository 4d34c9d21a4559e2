//! The audit is bounded by count and age, and its pages are stable while records are added.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{actions, get, records};
use crate::server::{Client, Server, eventually};

fn drains(client: &mut Client, session: &str, times: usize) {
    for _ in 0..times {
        assert!(client.ask(&format!("DRAIN_START|{session}|1h")).starts_with("DRAIN_OK"));
    }
}

#[test]
fn no_more_records_are_kept_than_configured_and_their_numbers_rise() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--audit-records-max", "10"]);
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    drains(&mut client, &session, 30);
    let found = records(&server, "");
    assert_eq!(actions(&found), ["drain_started"; 10]);
    let last = found[9]["sequence"].as_u64().unwrap();
    assert_eq!(last, 32, "the start, the registration and the drains");
    server.terminate();
    let server = Server::start_with(folder.path(), &["--audit-records-max", "10"]);
    let found = records(&server, "actor=server");
    assert_eq!(actions(&found[found.len() - 2..]), ["server_stopped", "server_started"]);
    assert!(found[found.len() - 1]["sequence"].as_u64().unwrap() > last, "also after a restart");
    assert_eq!(found[found.len() - 2]["details"]["reason"], "SIGTERM");
}

#[test]
fn records_that_are_too_old_are_not_shown_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--audit-keep", "1s"]);
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    eventually("nothing is shown", || records(&server, "").is_empty());
    drains(&mut client, &session, 1);
    assert_eq!(actions(&records(&server, "")), ["drain_started"]);
    server.terminate();
    let server = Server::start(folder.path());
    let left = records(&server, "");
    assert!(!actions(&left).contains(&"registered"), "the file has them no more: {left:?}");
}

#[test]
fn a_list_goes_on_where_it_was_while_records_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    drains(&mut client, &session, 20);
    let numbers = |page: &Value| -> Vec<u64> {
        page["items"].as_array().unwrap().iter().map(|record| record["sequence"].as_u64().unwrap()).collect()
    };
    let first = get(&server, "/v1/audit?limit=7", "");
    let (mut seen, mut cursor) = (numbers(&first), first["next_cursor"].clone());
    let newest = seen[0];
    while let Some(next) = cursor.as_str() {
        drains(&mut client, &session, 3);
        let page = get(&server, &format!("/v1/audit?limit=7&cursor={next}"), "");
        seen.extend(numbers(&page));
        cursor = page["next_cursor"].clone();
    }
    assert_eq!(seen, (1..=newest).rev().collect::<Vec<_>>());
}

#[test]
fn commands_that_are_sent_together_have_a_record_each_and_staging_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let count = 500;
    let text: String = (0..count).map(|at| format!("REGISTER|batch|i{at}|1|{{}}\n")).collect();
    std::io::Write::write_all(&mut client.writer, text.as_bytes()).unwrap();
    let session = (0..count).map(|_| client.try_reply().unwrap()).last().unwrap();
    let session = session.strip_prefix("ACK|").unwrap();
    let routes: String =
        (0..count).map(|at| format!("ROUTE_ADD|{session}|h{at}.example|/|http://127.0.0.1:1|0\n")).collect();
    std::io::Write::write_all(&mut client.writer, routes.as_bytes()).unwrap();
    (0..count).for_each(|_| assert!(client.try_reply().unwrap().starts_with("ROUTE_OK")));
    let found = records(&server, "service=batch&action=registered");
    let names: BTreeSet<&str> = found.iter().map(|record| record["instance_name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), count);
    let others = records(&server, "service=batch");
    let others: BTreeSet<&str> = actions(&others).into_iter().collect();
    assert_eq!(others, BTreeSet::from(["disconnected", "registered"]), "each took the connection from the one before");
}
