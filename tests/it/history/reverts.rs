//! A session lists its revisions and restores one of them.

use serde_json::json;

use super::{numbers, register, serve};
use crate::interfaces;
use crate::server::{Backend, Server};

#[test]
fn each_interface_lists_revisions_and_restores_one() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for (mut interface, door) in interfaces::all(&server).into_iter().zip(["pipe", "grpc", "rest"]) {
        let interface = &mut *interface;
        let session = register(interface, door);
        let asked = json!({ "session": session });
        assert_eq!(interface.call("CONFIG_HISTORY", &asked).unwrap(), json!([]), "{door}");
        serve(interface, &session, &format!("a.{door}.example"));
        serve(interface, &session, &format!("b.{door}.example"));
        let reverted = interface.call("CONFIG_REVERT", &json!({ "session": session, "number": 1 })).unwrap();
        assert_eq!(reverted, json!({ "number": 3 }), "{door}");
        let listed = interface.call("CONFIG_HISTORY", &asked).unwrap();
        let told: Vec<_> = listed.as_array().unwrap().iter().map(|item| (&item["number"], &item["action"])).collect();
        let expected =
            [(3, "reverted"), (2, "applied"), (1, "applied")].map(|(number, action)| (json!(number), json!(action)));
        assert_eq!(told, expected.iter().map(|(number, action)| (number, action)).collect::<Vec<_>>(), "{door}");
        let last = &listed[0];
        assert_eq!(last["actor"], json!({ "kind": "session", "name": format!("{door}/one") }), "{last}");
        assert_eq!((&last["interface"], &last["address"]), (&json!(door), &json!("127.0.0.1")), "{last}");
        assert_eq!((&last["revision"], &last["reverted_to"], &last["reason"]), (&json!(3), &json!(1), &json!(null)));
        assert!(!listed.to_string().contains(session.as_str().unwrap()), "{listed}");
        let routes = interface.call("ROUTE_LIST", &asked).unwrap();
        let (kept, gone) = (format!("a.{door}.example"), format!("b.{door}.example"));
        assert!(routes.to_string().contains(&kept) && !routes.to_string().contains(&gone), "{routes}");
        let route =
            json!({ "session": session, "domains": [gone], "path": "/", "backend_url": "http://b", "priority": 0 });
        interface.call("ROUTE_ADD", &route).unwrap();
        let refused = interface.call("CONFIG_REVERT", &json!({ "session": session, "number": 2 })).unwrap_err();
        assert!(refused.message.starts_with("something is staged"), "{door}: {refused:?}");
    }
}

#[test]
fn revisions_outlive_sessions_and_kills_and_a_restored_one_serves() {
    let backend = Backend::start("kept");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", backend.address);
    assert_eq!(client.ask(&format!("CLIENT_SHUTDOWN|{session}")), "SHUTDOWN_OK");
    assert_eq!(numbers(&server, "shop/shop-1"), [1], "the instance has no session");
    server.kill();

    let server = Server::start(folder.path());
    assert_eq!(server.get("shop.example", "/").0, 404);
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    assert_eq!(client.ask(&format!("CONFIG_REVERT|{session}|t1|1")), "REVERT_OK|t1|2");
    assert_eq!(server.get("shop.example", "/").0, 200);
    server.kill();

    let server = Server::start(folder.path());
    assert_eq!(server.get("shop.example", "/").0, 200);
    assert_eq!(numbers(&server, "shop/shop-1"), [2, 1]);
    let mut client = server.connect();
    let history = client.ask(&format!("CONFIG_HISTORY|{session}|t2|1"));
    assert!(history.starts_with("HISTORY_OK|t2|[{\"number\":2,"), "{history}");
    assert_eq!(
        client.ask(&format!("CONFIG_REVERT|{session}|7")).split(';').next(),
        Some("ERROR|there is no revision 7")
    );
    let next = client.ask(&format!("ROUTE_ADD|{session}|more.example|/|http://{}|0", backend.address));
    assert_eq!(next, "ROUTE_OK|r2", "the restored route keeps its id");
}

/// A kill at any moment leaves the configuration of a revision, with the history that says so.
#[test]
fn a_kill_at_any_moment_of_reverts_leaves_a_whole_revision() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    for domain in ["a.example", "b.example"] {
        client.serve(&session, domain, "/", "127.0.0.1:1".parse().unwrap());
    }
    drop(client);
    let mut server = Some(server);
    let mut last = 2;
    for round in 0..6_u64 {
        let running = server.take().unwrap();
        let pipe = running.pipe;
        let asked = session.clone();
        let working = std::thread::spawn(move || {
            let mut client = crate::server::Client::connect(pipe);
            let mut reverted = 0;
            // A deployed client reads each answer before its next line.
            while let Ok(reply) = client.try_ask(&format!("CONFIG_REVERT|{asked}|{}", 1 + reverted % 2)) {
                reverted = reply.strip_prefix("REVERT_OK|").unwrap_or_else(|| panic!("{reply}")).parse().unwrap();
            }
            reverted
        });
        // Not waiting for anything: the moment is meant to be any.
        std::thread::sleep(std::time::Duration::from_millis(20 + 13 * round));
        running.kill();
        let answered: u64 = working.join().unwrap();
        let started = Server::start(folder.path());
        let found = numbers(&started, "shop/shop-1");
        assert!(found[0] >= answered.max(last), "an answered revert is lost: {answered}, {found:?}");
        last = found[0];
        let detail =
            super::told(&super::operate(&started, "GET", &format!("/v1/instances/shop/shop-1/history/{last}"), "", ""));
        assert_eq!(detail["diff"], json!([]), "the last revision is what is active");
        let to = detail["reverted_to"].as_u64().unwrap_or(2);
        assert_eq!(detail["config"]["routes"].as_array().unwrap().len() as u64, if to % 2 == 1 { 1 } else { 2 });
        server = Some(started);
    }
}
