//! Each action through each interface has a record, with the right actor, interface and address.

use std::fs;

use serde_json::{Value, json};
use signalbox::grpc::proto::operator_client::OperatorClient;
use signalbox::grpc::proto::{EvictInstanceRequest, ListAuditRequest};
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;

use super::{actions, get, records, records_for};
use crate::interfaces;
use crate::server::{Backend, Server, eventually};
use crate::support::wire::Wire;

#[test]
fn what_a_session_does_is_recorded_at_each_interface() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for (mut interface, door) in interfaces::all(&server).into_iter().zip(["pipe", "grpc", "rest"]) {
        let names = json!({ "service": door, "instance": "one", "maintenance_port": 1, "metadata": {} });
        let session = interface.call("REGISTER", &names).unwrap()["session_id"].clone();
        let mut call = |verb: &str, more: Value| {
            let mut arguments = more;
            arguments["session"] = session.clone();
            interface.call(verb, &arguments).unwrap_or_else(|refusal| panic!("{door}: {verb}: {refusal:?}"));
        };
        let domain = format!("{door}.example");
        let route = json!({ "domains": [domain], "path": "/", "backend_url": "http://127.0.0.1:1", "priority": 0 });
        call("PING", json!({}));
        call("ROUTE_ADD", route);
        let breaker = json!({ "target": "ALL", "threshold": 5, "timeout": "30s", "half_open_requests": 1 });
        call("CIRCUIT_BREAKER_SET", breaker);
        call("CONFIG_APPLY", json!({}));
        call("CIRCUIT_BREAKER_RESET", json!({ "route_id": "r1" }));
        call("OPTIONS_SET", json!({ "target": "ALL", "key": "retries", "value": "2" }));
        call("CONFIG_ROLLBACK", json!({}));
        call("DRAIN_START", json!({ "duration": "1h" }));
        call("DRAIN_CANCEL", json!({}));
        call("MAINT_ENTER", json!({ "target": "ALL" }));
        call("CLIENT_SHUTDOWN", json!({}));
        let found = records(&server, &format!("service={door}"));
        let expected = [
            "registered",
            "applied",
            "breaker_reset",
            "rolled_back",
            "drain_started",
            "drain_cancelled",
            "maintenance_entered",
            "ended",
        ];
        assert_eq!(actions(&found), expected, "{door}");
        for record in &found {
            assert_eq!(record["actor"], json!({ "kind": "session", "name": format!("{door}/one") }), "{record}");
            assert_eq!((&record["interface"], &record["address"]), (&json!(door), &json!("127.0.0.1")), "{record}");
            assert!(!record.to_string().contains(session.as_str().unwrap()), "{record}");
        }
        assert_eq!(found[1]["details"], json!({ "routes_added": 1, "circuit_breakers_changed": 1, "number": 1 }));
        assert_eq!((&found[1]["revision"], &found[7]["details"]["routes"]), (&json!(1), &json!(1)));
    }
}

#[test]
fn reconnections_and_new_registrations_are_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut first = server.connect();
    let session = first.register("shop", "shop-1");
    first.serve(&session, "shop.example", "/", "127.0.0.1:1".parse().unwrap());
    drop(first);
    eventually("the connection is gone", || actions(&records(&server, "action=disconnected")).len() == 1);
    let mut second = server.connect();
    assert_eq!(second.ask(&format!("RECONNECT|{session}")), "OK");
    assert_eq!(second.ask(&format!("RECONNECT|{session}")), "OK", "nothing changes");
    let mut third = server.connect();
    let next = third.register("shop", "shop-1");
    third.serve(&next, "shop.example", "/new", "127.0.0.1:1".parse().unwrap());
    let found = records(&server, "service=shop&instance=shop-1");
    let expected = ["registered", "applied", "disconnected", "reconnected", "replaced", "registered", "applied"];
    assert_eq!(actions(&found), expected);
    assert_eq!(found[2]["actor"]["kind"], "server");
    assert_eq!(found[4]["details"]["routes"], 1);
    assert_eq!(found[6]["details"], json!({ "routes_added": 1, "routes_replaced": 1, "number": 2 }));
    assert!(actions(&records(&server, "service=shop&instance=other")).is_empty());
}

#[tokio::test]
async fn operators_are_named_by_their_token_and_their_address_by_trusted_proxies() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("signalbox.toml");
    let text = "[api]\noperator_tokens = [\"0123456789abcdef\"]\n[proxy]\ntrusted_proxies = [\"127.0.0.0/8\"]\n\
                [[operators]]\nname = \"ann\"\ntoken = \"fedcba9876543210\"\n";
    fs::write(&config, text).unwrap();
    let mut command = Server::command(folder.path());
    command.arg("--config").arg(&config);
    let server = Server::launch(command, folder.path());
    let mut client = server.connect();
    client.register("shop", "shop-1");
    for (token, body, method, what) in [
        ("0123456789abcdef", r#"{"duration":"1h"}"#, "PUT", "drain"),
        ("fedcba9876543210", "", "DELETE", "drain"),
        ("fedcba9876543210", "", "PUT", "maintenance"),
        ("fedcba9876543210", "", "DELETE", "maintenance"),
    ] {
        let mut wire = Wire::connect(server.api);
        wire.send(format!(
            "{method} /v1/instances/shop/shop-1/{what} HTTP/1.1\r\nhost: localhost\r\nx-forwarded-for: 203.0.113.9\r\n\
             authorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        let answer = wire.message().unwrap();
        assert!(answer.status() < 300, "{answer:?}");
    }
    let channel = Endpoint::from_shared(format!("http://{}", server.api)).unwrap().connect().await.unwrap();
    let mut operator = OperatorClient::with_interceptor(channel, |mut request: tonic::Request<()>| {
        let shown = MetadataValue::from_static("Bearer fedcba9876543210");
        request.metadata_mut().insert("authorization", shown);
        Ok(request)
    });
    let evict = EvictInstanceRequest { service_name: "shop".to_owned(), instance_name: "shop-1".to_owned() };
    operator.evict_instance(evict).await.unwrap();
    let found = records_for(&server, "actor=operator", "fedcba9876543210");
    let told: Vec<_> = found
        .iter()
        .map(|record| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let actor = text(&record["actor"]["name"]);
            [text(&record["action"]), actor, text(&record["interface"]), text(&record["address"])].join(" ")
        })
        .collect();
    let expected = [
        "drain_started operator rest 203.0.113.9",
        "drain_cancelled ann rest 203.0.113.9",
        "maintenance_entered ann rest 203.0.113.9",
        "maintenance_leaving ann rest 203.0.113.9",
        "evicted ann grpc 127.0.0.1",
    ];
    // Without routes there is no backend to wait for, so that the server lets it leave at some point.
    assert_eq!(told, expected);
    let all =
        ListAuditRequest { actor: Some("operator:ann".to_owned()), limit: Some(2), ..ListAuditRequest::default() };
    let page = operator.list_audit(all.clone()).await.unwrap().into_inner();
    let actions: Vec<_> = page.records.iter().map(|record| record.action.as_str()).collect();
    assert_eq!(actions, ["evicted", "maintenance_leaving"]);
    let next = ListAuditRequest { cursor: page.next_cursor, ..all };
    let page = operator.list_audit(next).await.unwrap().into_inner();
    assert_eq!(page.records.len(), 2);
    let shown = get(&server, "/v1/audit?action=config_reloaded", "fedcba9876543210");
    assert_eq!(shown["items"], json!([]));
    fs::write(&config, text.replace("ann", "bob")).unwrap();
    eventually("the new name counts", || {
        let found = records_for(&server, "action=config_reloaded", "fedcba9876543210");
        found.iter().any(|record| record["details"]["keys"] == "operators" && record["actor"]["name"] == "server")
    });
}

#[test]
fn loopback_is_the_operator_without_tokens_and_the_server_acts_in_its_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--session-grace", "2s"]);
    let backend = Backend::start("up");
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", backend.address);
    for line in ["DRAIN_START|{}|1ms", "MAINT_ENTER|{}|r1|", "MAINT_EXIT|{}|r1"] {
        let reply = client.ask(&line.replace("{}", &session));
        assert!(!reply.starts_with("ERROR"), "{line}: {reply}");
    }
    eventually("the server has brought both to an end", || {
        let found = records(&server, "actor=server&service=shop");
        let found = actions(&found);
        found.contains(&"drain_completed") && found.contains(&"maintenance_left")
    });
    let mut wire = Wire::connect(server.api);
    wire.send("PUT /v1/instances/shop/shop-1/drain HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 17\r\n\r\n{\"duration\":\"1h\"}");
    assert_eq!(wire.message().unwrap().status(), 200);
    assert_eq!(records(&server, "actor=operator:loopback").len(), 1);
    drop(client);
    eventually("it expires", || !records(&server, "action=expired").is_empty());
    let expired = records(&server, "action=expired").remove(0);
    assert_eq!((&expired["actor"]["name"], &expired["details"]["routes"]), (&json!("server"), &json!(1)));
    let warnings: Vec<_> = super::lines(&server.log).into_iter().filter(|line| line["level"] == "WARN").collect();
    let warned = |line: &&Value| line["message"].as_str().unwrap_or_default().contains("expires in 1 s");
    let [warning] = warnings.iter().filter(warned).collect::<Vec<_>>()[..] else { panic!("{warnings:?}") };
    assert_eq!((&warning["service"], &warning["instance"]), (&json!("shop"), &json!("shop-1")));
    assert!(warning["message"].as_str().unwrap().contains("its 1 routes go with it"), "{warning}");
}

#[test]
fn a_filter_that_makes_no_sense_is_refused_with_the_choices() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for (query, words) in [
        ("action=exploded", "registered, reconnected"),
        ("actor=ann", "session, operator or server"),
        ("since=yesterday", "2026-11-22T13:40:08Z"),
        ("limit=1001", "1 to 1000"),
        ("cursor=bm8", "not one that this list gave"),
        ("who=ann", "who"),
    ] {
        let mut wire = Wire::connect(server.api);
        wire.send(format!("GET /v1/audit?{query} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
        let answer = wire.message().unwrap();
        assert!(answer.status() == 400 && answer.text().contains(words), "{query}: {}", answer.text());
    }
    let now = records(&server, "action=server_started").remove(0)["at"].as_str().unwrap().to_owned();
    assert_eq!(records(&server, &format!("since={now}&until={now}")).len(), 1);
    assert_eq!(records(&server, "until=2020-01-01T00:00:00Z").len(), 0);
}

#[test]
fn the_start_is_recorded_before_anything_else_of_a_run() {
    let (folder, token) = (tempfile::tempdir().unwrap(), "0123456789abcdef");
    let flags = ["--api-operator-tokens", token, "--api-publish", "admin.example"];
    for runs in 1..=2 {
        let server = Server::start_with(folder.path(), &flags);
        let found = records_for(&server, "", token);
        let starts: Vec<usize> = (0..found.len()).filter(|at| found[*at]["action"] == "server_started").collect();
        assert_eq!((starts.len(), starts[0]), (runs, 0), "{:?}", actions(&found));
        let last = starts[runs - 1];
        assert!(last == 0 || found[last - 1]["action"] == "server_stopped", "{:?}", actions(&found));
        // Later runs change it only if its port has changed.
        assert!(runs > 1 || found.len() > 1, "the service that the server publishes comes after it");
        server.terminate();
    }
}
