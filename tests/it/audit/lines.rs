//! The log has a line for each record, and nothing that a caller sends forges one.

use serde_json::{Value, json};

use super::{lines, records};
use crate::server::{Server, eventually};
use crate::support::wire::Wire;

/// Names with characters that mean something in a log: quotes, braces, escapes, letters that look like an end.
const NAMES: [&str; 5] = ["a\"b", "a\\nb", "{\"level\":\"ERROR\"}", "a'=b,c=\\u001b[31m", "ü\u{10ffff}\u{e9}🦀"];

#[test]
fn each_record_is_a_line_with_the_same_fields() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", "127.0.0.1:1".parse().unwrap());
    assert_eq!(client.ask(&format!("CLIENT_SHUTDOWN|{session}")), "SHUTDOWN_OK");
    let found = records(&server, "");
    eventually("the log has all lines", || {
        let lines = lines(&server.log);
        found.iter().all(|record| lines.iter().any(|line| line["audit"] == record["sequence"]))
    });
    let lines = lines(&server.log);
    for record in &found {
        let of = |line: &&Value| line["audit"] == record["sequence"];
        let [line] = lines.iter().filter(of).collect::<Vec<_>>()[..] else { panic!("{record}") };
        assert_eq!(line["level"], "INFO");
        for (field, value) in [
            ("action", &record["action"]),
            ("service", &record["service_name"]),
            ("instance", &record["instance_name"]),
            ("actor", &record["actor"]["name"]),
            ("interface", &record["interface"]),
            ("address", &record["address"]),
            ("revision", &record["revision"]),
            ("routes_added", &record["details"]["routes_added"]),
        ] {
            assert_eq!(&line[field], value, "{field}: {line}");
        }
        assert!(!line.to_string().contains(&session), "{line}");
    }
}

#[test]
fn names_full_of_signs_forge_no_line_and_come_back_as_they_were() {
    for format in ["json", "human"] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start_with(folder.path(), &["--log-format", format]);
        let mut wire = Wire::connect(server.api);
        let mut accepted = Vec::new();
        for name in NAMES {
            let metadata = json!({ "x": "a\nb\u{1b}[31m\"" });
            let body = json!({ "service_name": name, "instance_name": name, "metadata": metadata }).to_string();
            wire.send(format!(
                "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ));
            if wire.message().unwrap().status() == 201 {
                accepted.push(name);
            }
        }
        assert!(accepted.len() >= 4, "{accepted:?}");
        let found = records(&server, "action=registered");
        let names: Vec<&str> = found.iter().map(|record| record["service_name"].as_str().unwrap()).collect();
        assert_eq!(names, accepted);
        let text = || std::fs::read_to_string(&server.log).unwrap();
        eventually("the log has all lines", || text().matches("session registered").count() == accepted.len());
        let text = text();
        assert!(!text.contains('\u{1b}'), "{text}");
        if format == "json" {
            let lines = lines(&server.log);
            assert!(lines.iter().all(|line| line["level"] != "ERROR"), "{text}");
            for name in accepted {
                assert!(lines.iter().any(|line| line["service"] == name && line["action"] == "registered"), "{name}");
            }
        } else {
            assert!(text.lines().all(|line| line.starts_with("20")), "{text}");
        }
    }
}

#[test]
fn a_flood_of_changes_is_counted_in_the_log_and_whole_in_the_audit() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let count = 1_000;
    let text: String = (0..count).map(|at| format!("REGISTER|flood|i{at}|1|{{}}\n")).collect();
    std::io::Write::write_all(&mut client.writer, text.as_bytes()).unwrap();
    (0..count).for_each(|_| assert!(client.try_reply().unwrap().starts_with("ACK|")));
    assert_eq!(records(&server, "service=flood&action=registered").len(), count);
    let all = records(&server, "").len();
    eventually("the lines and those that were left out make up all", || {
        let lines = lines(&server.log);
        let told = lines.iter().filter(|line| line["audit"].is_u64()).count();
        let skipped: u64 = lines.iter().filter_map(|line| line["skipped"].as_u64()).sum();
        told < all && told + usize::try_from(skipped).unwrap() == all
    });
}

#[test]
fn refused_operators_are_counted_in_the_log_and_have_no_record() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--api-operator-tokens", "0123456789abcdef"]);
    for _ in 0..5 {
        let mut wire = Wire::connect(server.api);
        wire.send(
            "DELETE /v1/instances/a/b HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer wrong-token-0000\r\n\r\n",
        );
        assert_eq!(wire.message().unwrap().status(), 401);
    }
    eventually("the log tells it", || {
        lines(&server.log)
            .iter()
            .any(|line| line["level"] == "WARN" && line["refused"].is_u64() && line["address"] == "127.0.0.1")
    });
    let text = std::fs::read_to_string(&server.log).unwrap();
    assert!(!text.contains("wrong-token"), "{text}");
    let found = super::records_for(&server, "", "0123456789abcdef");
    assert_eq!(super::actions(&found), ["server_started"]);
}
