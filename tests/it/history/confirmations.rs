//! Applies that are taken back unless they are confirmed: at each interface, across kills, and when two come at once.

use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::{numbers, operate, register, told};
use crate::interfaces::{self, InterfaceClient};
use crate::server::{Backend, Client, Server, eventually};

fn stage(interface: &mut dyn InterfaceClient, session: &Value, domain: &str) {
    let route = json!({
        "session": session, "domains": [domain], "path": "/", "backend_url": "http://127.0.0.1:1", "priority": 0,
    });
    interface.call("ROUTE_ADD", &route).unwrap();
}

fn apply(interface: &mut dyn InterfaceClient, session: &Value, within: &str) -> Value {
    let options = json!({ "confirm_within": within, "reason": "new menu" });
    interface.call("CONFIG_APPLY_WITH", &json!({ "session": session, "options": options })).unwrap()
}

#[test]
fn each_interface_confirms_cancels_and_refuses_a_second_apply() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    // Confirmed by the next interface, which has another connection.
    let mut others = interfaces::all(&server);
    others.rotate_left(1);
    for ((mut interface, door), mut other) in
        interfaces::all(&server).into_iter().zip(["pipe", "grpc", "rest"]).zip(others)
    {
        let interface = &mut *interface;
        let session = register(interface, door);
        let asked = json!({ "session": session });
        stage(interface, &session, &format!("a.{door}.example"));
        let applied = apply(interface, &session, "1h");
        let waits = &applied["confirmation"];
        assert_eq!((&applied["number"], &waits["number"], &waits["reverts_to"]), (&json!(1), &json!(1), &json!(0)));
        let id = waits["id"].as_str().unwrap();
        assert_eq!(id.len(), 32, "{id}");
        stage(interface, &session, &format!("b.{door}.example"));
        let refused = interface.call("CONFIG_APPLY", &asked).unwrap_err();
        assert!(refused.message.contains(id), "{door}: {refused:?}");
        other.call("CONFIG_CONFIRM", &json!({ "confirmation_id": id })).unwrap();
        let applied = apply(interface, &session, "1h");
        let id = applied["confirmation"]["id"].clone();
        other.call("CONFIG_CANCEL", &json!({ "confirmation_id": id })).unwrap();
        let again = other.call("CONFIG_CONFIRM", &json!({ "confirmation_id": id })).unwrap_err();
        assert!(again.message.starts_with("nothing waits for this confirmation"), "{door}: {again:?}");
        let listed = interface.call("CONFIG_HISTORY", &asked).unwrap();
        let ways: Vec<&Value> = listed.as_array().unwrap().iter().map(|item| &item["action"]).collect();
        assert_eq!(ways, [&json!("cancelled"), &json!("applied"), &json!("applied")], "{door}");
        assert_eq!(listed[1]["reason"], "new menu");
        assert_eq!(listed[0]["actor"]["name"], format!("{door}/one"), "{listed}");
    }
}

#[test]
fn an_apply_that_nobody_confirms_is_taken_back_and_subscribers_hear_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (mut client, mut plain) = (server.connect(), server.connect());
    let session = client.register("shop", "shop-1");
    let other = plain.register("till", "till-1");
    assert_eq!(client.ask(&format!("SUBSCRIBE|{session}|config_pending")), "SUBSCRIBE_OK");
    assert_eq!(client.ask(&format!("SUBSCRIBE|{session}|config_reverted")), "SUBSCRIBE_OK");
    for (client, session, domain) in [(&mut client, &session, "a.example"), (&mut plain, &other, "b.example")] {
        client.ask(&format!("ROUTE_ADD|{session}|{domain}|/|http://127.0.0.1:1|0"));
        let applied = client.ask(&format!("CONFIG_APPLY_WITH|{session}|t1|{{\"confirm_within\":\"1s\"}}"));
        assert!(
            applied.starts_with("APPLY_OK|t1|{\"revision\":1,\"number\":1,\"confirmation\":{\"id\":\""),
            "{applied}"
        );
    }
    assert!(client.pushed_line().starts_with("EVENT|config_pending|{\"confirmation_id\":\""));
    let info = client.ask(&format!("SESSION_INFO|{session}"));
    assert!(info.contains("\"confirmation\":{\"id\":\""), "{info}");
    let instance = told(&operate(&server, "GET", "/v1/instances/shop/shop-1", "", ""));
    assert_eq!(instance["confirmation"]["reverts_to"], 0, "{instance}");
    let reverted = client.pushed_line();
    assert_eq!(
        reverted,
        "EVENT|config_reverted|{\"number\":1,\"reverted_to\":0,\"reason\":\"nobody confirmed it in time\"}"
    );
    assert!(client.ask(&format!("SESSION_INFO|{session}")).contains("\"confirmation\":null"));
    eventually("the other one is taken back", || numbers(&server, "till/till-1") == [2, 1]);
    assert_eq!(plain.ask(&format!("PING|{other}")), "PONG", "who subscribed to nothing hears nothing");
    assert!(plain.told.is_empty());
    let audit = told(&operate(&server, "GET", "/v1/audit?action=reverted&service=shop", "", ""));
    assert_eq!(audit["items"][0]["actor"]["kind"], "server", "{audit}");
    assert_eq!(audit["items"][0]["details"]["reason"], "nobody confirmed it in time");
}

#[test]
fn a_deadline_that_passed_while_the_server_was_down_is_kept_at_the_start() {
    let backend = Backend::start("before");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", backend.address);
    assert_eq!(client.ask(&format!("ROUTE_REMOVE|{session}|r1")), "ROUTE_OK");
    let applied = client.ask(&format!("CONFIG_APPLY_WITH|{session}|{{\"confirm_within\":\"1s\"}}"));
    assert!(applied.starts_with("APPLY_OK|"), "{applied}");
    assert_eq!(server.get("shop.example", "/").0, 404);
    server.kill();
    // The deadline passes while nobody runs.
    thread::sleep(Duration::from_millis(1_100));
    let server = Server::start(folder.path());
    eventually("it is taken back", || server.get("shop.example", "/").0 == 200);
    assert_eq!(numbers(&server, "shop/shop-1"), [3, 2, 1]);
    server.kill();
    let server = Server::start(folder.path());
    assert_eq!(server.get("shop.example", "/").0, 200, "and stays so");
    assert_eq!(numbers(&server, "shop/shop-1"), [3, 2, 1], "once");
}

#[test]
fn of_two_at_once_one_waits_and_the_other_is_told_its_id() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for round in 0..8 {
        let mut client = server.connect();
        let session = client.register("shop", &format!("shop-{round}"));
        let (pipe, asked) = (server.pipe, session.clone());
        let racing: Vec<_> = (0..2)
            .map(|side| {
                let session = asked.clone();
                thread::spawn(move || {
                    let mut client = Client::connect(pipe);
                    client.ask(&format!("ROUTE_ADD|{session}|s{side}.r{round}.example|/|http://127.0.0.1:1|0"));
                    client.ask(&format!("CONFIG_APPLY_WITH|{session}|{{\"confirm_within\":\"1h\"}}"))
                })
            })
            .collect();
        let answers: Vec<String> = racing.into_iter().map(|side| side.join().unwrap()).collect();
        let info = client.ask(&format!("SESSION_INFO|{session}"));
        let info: Value = serde_json::from_str(info.split_once('|').unwrap().1).unwrap();
        let id = info["confirmation"]["id"].as_str().unwrap();
        let (waiting, others): (Vec<&String>, Vec<&String>) =
            answers.iter().partition(|answer| answer.contains("\"confirmation\""));
        assert!(waiting.len() == 1 && waiting[0].contains(id), "{answers:?}");
        // Its route was applied with the first one, or it is refused.
        let refused = format!("waits for its confirmation {id}");
        assert!(others[0].contains(&refused) || others[0] == "APPLY_OK|{\"revision\":1,\"number\":1}", "{answers:?}");
    }
}

/// A kill among the deadlines of several applies leaves each of them waiting or taken back, and at the end all are.
#[test]
fn a_kill_at_any_step_of_being_taken_back_leaves_one_of_both_configurations_whole() {
    const INSTANCES: u64 = 12;
    let folder = tempfile::tempdir().unwrap();
    let mut server = Some(Server::start(folder.path()));
    for round in 0..3_u64 {
        let running = server.take().unwrap();
        let names: Vec<String> = (0..INSTANCES).map(|number| format!("r{round}-{number}")).collect();
        let mut clients: Vec<(Client, String)> = Vec::new();
        for name in &names {
            let mut client = running.connect();
            let session = client.register("shop", name);
            client.serve(&session, &format!("old.{name}.example"), "/", "127.0.0.1:1".parse().unwrap());
            assert_eq!(client.ask(&format!("ROUTE_REMOVE|{session}|r1")), "ROUTE_OK");
            for domain in ["new", "newer"] {
                let added = client.ask(&format!("ROUTE_ADD|{session}|{domain}.{name}.example|/|http://127.0.0.1:2|0"));
                assert!(added.starts_with("ROUTE_OK|"), "{added}");
            }
            clients.push((client, session));
        }
        // Their deadlines come one after the other.
        for (client, session) in &mut clients {
            let applied = client.ask(&format!("CONFIG_APPLY_WITH|{session}|{{\"confirm_within\":\"1s\"}}"));
            assert!(applied.starts_with("APPLY_OK|"), "{applied}");
        }
        let first = format!("shop/{}", names[0]);
        eventually("the first is taken back", || numbers(&running, &first)[0] == 3);
        // Not waiting for anything more: the moment is meant to be any.
        thread::sleep(Duration::from_millis(3 * round));
        running.kill();
        let started = Server::start(folder.path());
        for name in &names {
            let routes = || told(&operate(&started, "GET", &format!("/v1/routes?instance=shop/{name}"), "", ""));
            let domains = || {
                let routes = routes();
                let items = routes["items"].as_array().unwrap().iter();
                items.map(|item| item["domains"][0].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            let found = domains();
            let (old, new) =
                ([format!("old.{name}.example")], ["new", "newer"].map(|of| format!("{of}.{name}.example")));
            assert!(found == old || found == new, "{found:?}");
            eventually("it is taken back", || domains() == old);
            assert_eq!(numbers(&started, &format!("shop/{name}")), [3, 2, 1], "once");
            let last = told(&operate(&started, "GET", &format!("/v1/instances/shop/{name}/history/3"), "", ""));
            assert_eq!((&last["reverted_to"], &last["diff"]), (&json!(1), &json!([])), "{last}");
        }
        server = Some(started);
    }
}

/// A kill at any moment leaves an apply that waits, or one that is confirmed; what was answered holds.
#[test]
fn a_kill_at_any_moment_keeps_each_confirmation_that_was_answered() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let session = server.connect().register("shop", "shop-1");
    let mut server = Some(server);
    for round in 0..5_u64 {
        let running = server.take().unwrap();
        let (pipe, asked) = (running.pipe, session.clone());
        let working = thread::spawn(move || work(pipe, &asked));
        // Not waiting for anything: the moment is meant to be any.
        thread::sleep(Duration::from_millis(15 + 17 * round));
        running.kill();
        let (waiting, confirmed) = working.join().unwrap();
        let started = Server::start(folder.path());
        let mut client = started.connect();
        let info = client.ask(&format!("SESSION_INFO|{session}"));
        let info: Value = serde_json::from_str(info.split_once('|').unwrap().1).unwrap();
        let found = info["confirmation"]["number"].as_u64();
        assert!(found.is_none_or(|number| number > confirmed), "revision {confirmed} was confirmed: {info}");
        if waiting > confirmed {
            assert!(found.is_none_or(|number| number >= waiting), "{waiting} waited: {info}");
        }
        if let Some(id) = info["confirmation"]["id"].as_str() {
            assert_eq!(started.once(&format!("CONFIG_CONFIRM|{id}")), "OK", "from any connection");
        }
        assert_eq!(client.ask(&format!("CONFIG_ROLLBACK|{session}")), "OK");
        server = Some(started);
    }
}

/// Applies and confirms until the server is gone. Returns the numbers of the last apply and of the last confirmation that
/// were answered.
fn work(pipe: std::net::SocketAddr, session: &str) -> (u64, u64) {
    let (mut waiting, mut confirmed) = (0, 0);
    let mut client = Client::connect(pipe);
    for number in 0.. {
        let add = format!("ROUTE_ADD|{session}|w{number}.example|/p{number}|http://127.0.0.1:1|{number}");
        if client.try_ask(&add).is_err() {
            break;
        }
        let Ok(applied) = client.try_ask(&format!("CONFIG_APPLY_WITH|{session}|{{\"confirm_within\":\"1h\"}}")) else {
            break;
        };
        // Another round has staged and applied the same; then there is nothing to confirm.
        let Some(json) = applied.strip_prefix("APPLY_OK|") else {
            let _ = client.try_ask(&format!("CONFIG_ROLLBACK|{session}"));
            continue;
        };
        let view: Value = serde_json::from_str(json).unwrap();
        let Some(id) = view["confirmation"]["id"].as_str() else { continue };
        waiting = view["confirmation"]["number"].as_u64().unwrap();
        match client.try_ask(&format!("CONFIG_CONFIRM|{id}")) {
            Ok(reply) => assert_eq!(reply, "OK"),
            Err(_) => break,
        }
        confirmed = waiting;
    }
    (waiting, confirmed)
}
