//! Leases over all interfaces: what they ask for, what is shown, when sessions end, and what outlives a restart.

use serde_json::{Value, json};
use signalbox::grpc::proto::event::Payload;
use signalbox::grpc::proto::operator_client::OperatorClient;
use signalbox::grpc::proto::watch_response::Item;
use signalbox::grpc::proto::{ListInstancesRequest, WatchRequest};
use tonic::transport::Endpoint;

use crate::interfaces::{self, InterfaceClient, Refusal};
use crate::server::{Backend, Server, eventually};
use crate::support::wire::Wire;

/// Registers the instance that is named after the interface. The pipe has the lease in the metadata.
fn register(interface: &mut dyn InterfaceClient, lease: &str, metadata: &Value) -> Result<String, Refusal> {
    let mut asked = json!({ "service": "shop", "instance": interface.name(), "maintenance_port": 1 });
    asked["metadata"] = metadata.clone();
    if interface.name() == "pipe" {
        asked["metadata"]["lease"] = json!(lease);
    } else {
        asked["lease"] = json!(lease);
    }
    let answer = interface.call("REGISTER", &asked)?;
    Ok(answer["session_id"].as_str().expect("an id").to_owned())
}

fn info(interface: &mut dyn InterfaceClient, session: &str) -> Value {
    interface.call("SESSION_INFO", &json!({ "session": session })).unwrap()
}

fn operator(server: &Server, method: &str, target: &str) -> (u16, Value) {
    let mut wire = Wire::connect(server.api);
    wire.send(format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
    let answer = wire.message().expect("the API answers");
    (answer.status(), serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// Returns the instances that operators see, by name.
fn instance(server: &Server, name: &str) -> Option<Value> {
    let (_, page) = operator(server, "GET", "/v1/instances");
    page["items"].as_array().unwrap().iter().find(|item| item["instance_name"] == name).cloned()
}

/// Reads the events of operators from the beginning until one of `kind` about the instance comes.
fn told(server: &Server, kind: &str, name: &str) -> Value {
    let mut wire = Wire::connect(server.api);
    wire.send("GET /v1/events?after=0 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(wire.head().unwrap().status(), 200);
    let mut text = String::new();
    loop {
        let found = text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok());
        let mut found = found.filter(|event: &Value| event["type"] == kind && event["instance_name"] == name);
        if let Some(event) = found.next() {
            return event;
        }
        text += &String::from_utf8(wire.chunk().expect("the stream goes on")).unwrap();
    }
}

#[test]
fn every_interface_takes_a_lease_and_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for interface in &mut interfaces::all(&server) {
        let (name, interface) = (interface.name(), &mut **interface);
        for (asked, shown) in [("24h", "24h0m0s"), ("876000h", "876000h0m0s"), ("permanent", "permanent")] {
            let session = register(interface, asked, &json!({ "version": "1.4" })).unwrap();
            let view = info(interface, &session);
            assert_eq!(view["lease"], shown, "{name}");
            // A connection of the pipe keeps its session alive; over the others each call does.
            assert_eq!(view["expires_at"].is_null(), name == "pipe" || asked == "permanent", "{name}: {view}");
            let seen = instance(&server, name).unwrap();
            assert_eq!((&seen["lease"], &seen["metadata"]), (&json!(shown), &json!({ "version": "1.4" })), "{name}");
            assert_eq!(seen["expires_at"].is_null(), view["expires_at"].is_null(), "{name}: {seen}");
        }
        let in_metadata =
            json!({ "service": "shop", "instance": name, "maintenance_port": 1, "metadata": { "lease": 3600 } });
        let session = interface.call("REGISTER", &in_metadata).unwrap()["session_id"].as_str().unwrap().to_owned();
        assert_eq!(info(interface, &session)["lease"], "1h0m0s", "{name}");
        let plain = json!({ "service": "shop", "instance": name, "maintenance_port": 1, "metadata": {} });
        let session = interface.call("REGISTER", &plain).unwrap()["session_id"].as_str().unwrap().to_owned();
        assert_eq!(info(interface, &session)["lease"], "5m0s", "{name}: the grace period");
    }
}

#[test]
fn what_is_not_a_lease_is_refused_over_every_interface_and_replaces_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for interface in &mut interfaces::all(&server) {
        let (name, interface) = (interface.name(), &mut **interface);
        let session = register(interface, "1h", &json!({})).unwrap();
        for wrong in ["forever", "0", "-1h", "500ms", "1000 days", "8766001h", ""] {
            let refused = register(interface, wrong, &json!({})).unwrap_err();
            assert!(refused.message.contains("write a duration such as 90s, 30m or 24h, or permanent"), "{refused:?}");
            assert!(matches!(refused.kind.as_deref(), None | Some("invalid")), "{name} {wrong}: {refused:?}");
        }
        assert_eq!(info(interface, &session)["lease"], "1h0m0s", "{name}");
    }
}

#[test]
fn the_end_of_a_lease_is_told_before_and_after_over_log_audit_and_events() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--log-format", "json", "--session-grace", "1h"]);
    let backend = Backend::start("up");
    for interface in &mut interfaces::all(&server) {
        let session = register(&mut **interface, "2s", &json!({})).unwrap();
        let host = format!("{}.example", interface.name().to_lowercase());
        let route = json!({ "session": session, "domains": [host], "path": "/", "priority": 0,
            "backend_url": format!("http://{}", backend.address) });
        interface.call("ROUTE_ADD", &route).unwrap();
        interface.call("CONFIG_APPLY", &json!({ "session": session })).unwrap();
        assert_eq!(server.get(&host, "/").0, 200);
    }
    // The clients are gone now, and with them the connection that kept the session of the pipe.
    for name in ["pipe", "gRPC", "REST"] {
        let expiring = told(&server, "session_expiring", name);
        let payload = &expiring["payload"];
        assert_eq!((&payload["service"], &payload["instance"]), (&json!("shop"), &json!(name)));
        let ended = told(&server, "instance_ended", name);
        assert_eq!(ended["payload"]["reason"], "expired");
        assert!(payload["expires_at"].as_str() <= ended["at"].as_str(), "{expiring} {ended}");
        assert!(expiring["at"].as_str() < payload["expires_at"].as_str(), "{expiring}");
        assert_eq!(server.get(&format!("{}.example", name.to_lowercase()), "/").0, 404);
    }
    let log = std::fs::read_to_string(&server.log).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for name in ["pipe", "gRPC", "REST"] {
        let of = |level: &str, words: &str| {
            let is = |line: &&Value| line["level"] == level && line["instance"] == name;
            lines.iter().filter(is).filter(|line| line["message"].as_str().unwrap().contains(words)).count()
        };
        assert_eq!((of("WARN", "the session expires in 1 s"), of("INFO", "session expired")), (1, 1), "{name}");
    }
    let (_, expired) = operator(&server, "GET", "/v1/audit?action=expired");
    let leases: Vec<_> = expired["items"].as_array().unwrap().iter().map(|item| &item["details"]["lease"]).collect();
    assert_eq!(leases, ["2s"; 3]);
}

#[tokio::test]
async fn operators_see_leases_and_hear_of_their_ends_over_grpc() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    server.once(r#"REGISTER|shop|shop-1|1|{"lease":"2s"}"#);
    let endpoint = Endpoint::from_shared(format!("http://{}", server.api)).unwrap();
    let mut client = OperatorClient::new(endpoint.connect().await.unwrap());
    let listed = client.list_instances(ListInstancesRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.instances[0].lease, "2s");
    let mut events = client.watch(WatchRequest { after: Some(0) }).await.unwrap().into_inner();
    loop {
        let item = events.message().await.unwrap().expect("the stream goes on").item;
        let Some(Item::Event(event)) = item else { continue };
        if let Some(Payload::SessionExpiring(expiring)) = event.payload {
            assert_eq!((expiring.service.as_str(), expiring.instance.as_str()), ("shop", "shop-1"));
            assert!(expiring.expires_at.unwrap().seconds >= event.at.unwrap().seconds);
            break;
        }
    }
}

#[test]
fn a_permanent_session_outlives_silence_and_kills_and_ends_only_when_it_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let flags = ["--session-grace", "1s"];
    let server = Server::start_with(folder.path(), &flags);
    let backend = Backend::start("up");
    let permanent = |server: &Server, name: &str| {
        let line = format!(r#"REGISTER|{name}|one|1|{{"lease":"permanent"}}"#);
        let session = server.once(&line).strip_prefix("ACK|").unwrap().to_owned();
        server.once(&format!("ROUTE_ADD|{session}|{name}.example|/|http://{}|0", backend.address));
        assert_eq!(server.once(&format!("CONFIG_APPLY|{session}")), "OK");
        session
    };
    let first = permanent(&server, "first");
    permanent(&server, "second");
    // Sessions without a lease that come and go show that the time has passed.
    server.once("REGISTER|passing|one|1");
    eventually("the other session expires", || operator(&server, "GET", "/v1/instances/passing/one").0 == 404);
    server.kill();
    let server = Server::start_with(folder.path(), &flags);
    server.once("REGISTER|passing|one|1");
    eventually("the other session expires", || operator(&server, "GET", "/v1/instances/passing/one").0 == 404);
    for name in ["first", "second"] {
        assert_eq!(server.get(&format!("{name}.example"), "/").0, 200);
    }
    assert_eq!(server.once(&format!("RECONNECT|{first}")), "OK");
    let shown = server.once(&format!("SESSION_INFO|{first}"));
    assert!(shown.contains(r#""lease":"permanent","expires_at":null"#), "{shown}");
    assert_eq!(server.once(&format!("CLIENT_SHUTDOWN|{first}")), "SHUTDOWN_OK");
    assert_eq!(operator(&server, "DELETE", "/v1/instances/second/one").0, 204);
    eventually("the routes go", || {
        server.get("first.example", "/").0 == 404 && server.get("second.example", "/").0 == 404
    });
}

#[test]
fn a_lease_begins_anew_with_a_restart_and_with_each_registration() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let register = |server: &Server, lease: &str| {
        let line = format!(r#"REGISTER|shop|shop-1|1|{{"lease":"{lease}"}}"#);
        server.once(&line).strip_prefix("ACK|").unwrap().to_owned()
    };
    register(&server, "permanent");
    let session = register(&server, "24h");
    let ends =
        |server: &Server| instance(server, "shop-1").unwrap()["expires_at"].as_str().unwrap_or_default().to_owned();
    eventually("the connection is gone", || !ends(&server).is_empty());
    let before = ends(&server);
    server.kill();
    let server = Server::start(folder.path());
    let seen = instance(&server, "shop-1").unwrap();
    assert_eq!(seen["lease"], "24h0m0s");
    assert!(ends(&server) > before, "{} {before}", ends(&server));
    let before = ends(&server);
    assert_eq!(server.once(&format!("PING|{session}")), "PONG");
    assert!(ends(&server) > before);
}

#[test]
fn a_token_and_the_server_bound_leases_over_every_interface() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("signalbox.toml");
    let hash = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";
    let text = |token: &str, all: &str| {
        format!("[session]\nlease_max = \"{all}\"\n[[tokens]]\nname = \"team-a\"\nsha256 = \"{hash}\"\n{token}")
    };
    for (token, all, refused, allowed) in [
        (
            "lease_max = \"24h\"\n",
            "permanent",
            "token team-a does not allow the lease … the longest lease that it allows is 24h0m0s",
            "24h",
        ),
        ("", "36h", "session.lease_max does not allow the lease … the longest lease that it allows is 36h0m0s", "36h"),
        (
            "lease_max = \"none\"\n",
            "permanent",
            "token team-a does not allow the lease … it allows none; leave the lease out",
            "",
        ),
    ] {
        std::fs::write(&config, text(token, all)).unwrap();
        let mut command = Server::command(folder.path());
        command.arg("--config").arg(&config);
        let server = Server::launch(command, folder.path());
        for interface in &mut interfaces::all(&server) {
            let interface = &mut **interface;
            for lease in ["876000h", "permanent"] {
                let answer = register(interface, lease, &json!({ "token": "s3cret" })).unwrap_err();
                assert!(refused.split('…').all(|words| answer.message.contains(words.trim())), "{answer:?}");
                assert!(matches!(answer.kind.as_deref(), None | Some("denied")), "{answer:?}");
            }
            if !allowed.is_empty() {
                register(interface, allowed, &json!({ "token": "s3cret" })).unwrap();
            }
        }
        server.kill();
    }
}
