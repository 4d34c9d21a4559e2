//! Instances of operators survive every end of the server, and no deadline ends them.

use serde_json::{Value, json};

use super::{at, one};
use crate::rest::api::Api;
use crate::server::{Backend, Server, eventually};

fn api_of(server: Server) -> Api {
    Api::launch(|_| server)
}

#[test]
fn an_acknowledged_put_survives_kill_9_and_outlives_the_grace_of_sessions() {
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::start("b");
    let url = format!("http://{}", backend.address);
    let start = || api_of(Server::start_with(folder.path(), &["--session-grace", "1s"]));
    let mut shown: Vec<(String, Value)> = Vec::new();
    for round in 0..3 {
        let api = start();
        for (instance, config) in &shown {
            let now = api.ask("GET", &at(instance), "", None);
            assert_eq!(&now.json, config, "{instance} in round {round}");
        }
        if round > 0 {
            assert_eq!(api.server.get("h0.example", "/").0, 200);
            let refused = api.server.once("REGISTER|s0|i|1|{}");
            assert!(refused.contains("is held by the operators"), "{refused}");
        }
        let instance = format!("s{round}/i");
        let config =
            json!({ "routes": [{ "name": "main", "backend": url, "domains": [format!("h{round}.example")] }] });
        assert_eq!(api.ask("PUT", &at(&instance), "", Some(&config)).status, 201);
        if round == 1 {
            assert_eq!(api.ask("PUT", &at("s0/i"), "", Some(&one(&url, "h0.example"))).status, 200);
            shown[0].1 = api.ask("GET", &at("s0/i"), "", None).json;
        }
        shown.push((instance.clone(), api.ask("GET", &at(&instance), "", None).json));
        // A session that nobody keeps ends; the instances of the operators stay.
        api.register("passing", "passing-1");
        eventually("the session has expired", || {
            api.ask("GET", "/v1/instances/passing/passing-1", "", None).status == 404
        });
        for (instance, _) in &shown {
            assert_eq!(api.ask("GET", &at(instance), "", None).status, 200, "{instance}");
        }
        let Api { server, .. } = api;
        server.kill();
    }
}
