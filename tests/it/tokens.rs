//! Registration tokens: who may register, what they may claim, and that no token is ever shown.

use std::path::Path;

use serde_json::{Value, json};

use crate::interfaces::{self, InterfaceClient};
use crate::server::Server;

/// `printf %s s3cret | sha256sum`
const S3CRET: &str = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";

/// `printf %s 0ther-s3cret | sha256sum`
const OTHER: &str = "b86f27ab6a5dc5588880ffd1b34650e9f2855d09be717bb59695f82f14249177";

fn start(folder: &Path, tokens: &str) -> Server {
    let config = folder.join("signalbox.toml");
    std::fs::write(&config, tokens).unwrap();
    let mut command = Server::command(folder);
    command.arg("--config").arg(&config).args(["--log-level", "trace"]);
    Server::launch(command, folder)
}

fn team_a(rest: &str) -> String {
    format!("[[tokens]]\nname = \"team-a\"\nsha256 = \"{S3CRET}\"\n{rest}")
}

#[test]
fn a_session_claims_what_its_token_allows_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "services = [\"shop\"]\ndomains = [\"*.a.example\"]\npath_prefixes = [\"/api\"]\n\
                 backends = [\"127.0.0.0/8\"]\nmax_routes = 2\n";
    let server = start(folder.path(), &team_a(rules));
    let mut client = server.connect();
    let refused = client.ask("REGISTER|shop|shop-1|9001|{}");
    assert!(refused.starts_with("ERROR|this server asks for a registration token"), "{refused}");
    assert_eq!(
        client.ask(r#"REGISTER|shop|shop-1|9001|{"token":"guess"}"#),
        "ERROR|the registration token is not known here"
    );
    assert_eq!(
        client.ask(r#"REGISTER|till|till-1|9001|{"token":"s3cret"}"#),
        "ERROR|service: token team-a does not allow the service till; it allows shop"
    );
    let session = client.ask(r#"REGISTER|shop|shop-1|9001|{"token":"s3cret","version":"1.4"}"#);
    let session = session.strip_prefix("ACK|").expect(&session).to_owned();
    let info = client.ask(&format!("SESSION_INFO|{session}"));
    assert!(info.contains(r#""metadata":{"version":"1.4"}"#), "{info}");

    let mut add = |domain: &str, path: &str, backend: &str| {
        client.ask(&format!("ROUTE_ADD|{session}|{domain}|{path}|{backend}|0"))
    };
    assert_eq!(
        add("b.example", "/api", "http://127.0.0.1:1"),
        "ERROR|domains: token team-a does not allow the domain b.example; it allows *.a.example"
    );
    assert_eq!(
        add("x.a.example", "/", "http://127.0.0.1:1"),
        "ERROR|path: token team-a does not allow the path /; it allows /api"
    );
    let backend = add("x.a.example", "/api", "http://10.0.0.1:1");
    assert!(
        backend.ends_with("does not allow the backend http://10.0.0.1:1; it allows addresses in 127.0.0.0/8"),
        "{backend}"
    );
    assert_eq!(add("x.a.example", "/api", "http://127.0.0.1:1"), "ROUTE_OK|r1");
    assert_eq!(add("x.a.example", "/api/v2", "http://127.0.0.1:1"), "ROUTE_OK|r2");
    assert_eq!(add("x.a.example", "/api/v3", "http://127.0.0.1:1"), "ERROR|token team-a allows at most 2 routes");
    let moved = client.ask(&format!("ROUTE_UPDATE|{session}|r1|domains|b.example"));
    assert!(moved.starts_with("ERROR|domains: token team-a"), "{moved}");
    let tested = client.ask(&format!("BACKEND_TEST|{session}|http://10.0.0.1:1"));
    assert!(tested.starts_with("ERROR|backend_url: token team-a"), "{tested}");
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");

    let log = std::fs::read_to_string(&server.log).unwrap();
    assert!(!log.contains("s3cret"), "the log tells the token");
    let database = std::fs::read(folder.path().join("signalbox.db")).unwrap();
    let wal = std::fs::read(folder.path().join("signalbox.db-wal")).unwrap_or_default();
    let holds = |bytes: &[u8]| bytes.windows(6).any(|window| window == b"s3cret");
    assert!(!holds(&database) && !holds(&wal), "the store tells the token");
}

#[test]
fn a_token_binds_its_sessions_over_restarts_as_it_is_configured_then() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    let plain = server.connect().register("old", "old-1");
    server.kill();
    let server = start(folder.path(), &team_a(""));
    let mut client = server.connect();
    let refused = client.ask(&format!("ROUTE_ADD|{plain}|a.example|/|http://127.0.0.1:1|0"));
    assert!(refused.starts_with("ERROR|this session registered without a token"), "{refused}");
    let session = client.ask(r#"REGISTER|shop|shop-1|9001|{"token":"s3cret"}"#);
    let session = session.strip_prefix("ACK|").expect(&session).to_owned();
    server.kill();
    let server = start(folder.path(), &team_a("domains = [\"a.example\"]\n"));
    let mut client = server.connect();
    let refused = client.ask(&format!("ROUTE_ADD|{session}|b.example|/|http://127.0.0.1:1|0"));
    assert!(refused.contains("does not allow the domain b.example"), "{refused}");
    server.kill();
    let server = start(folder.path(), &team_a("").replace("team-a", "team-b"));
    let refused = server.once(&format!("ROUTE_ADD|{session}|a.example|/|http://127.0.0.1:1|0"));
    assert!(refused.starts_with("ERROR|the token team-a is no longer accepted"), "{refused}");
}

fn team_b() -> String {
    format!("[[tokens]]\nname = \"team-b\"\nsha256 = \"{OTHER}\"\ndomains = [\"*.b.example\"]\n")
}

/// Registers an instance of the shop under the token whose secret is given.
fn register(interface: &mut dyn InterfaceClient, instance: &str, secret: &str) -> Result<String, String> {
    let metadata = json!({ "token": secret });
    let asked = json!({ "service": "shop", "instance": instance, "maintenance_port": 9001, "metadata": metadata });
    let answer = interface.call("REGISTER", &asked).map_err(|refused| refused.message)?;
    Ok(answer["session_id"].as_str().expect("an id").to_owned())
}

/// Registers the instance that is named after the interface, under team-a.
fn register_own(interface: &mut dyn InterfaceClient) -> Result<String, String> {
    let instance = interface.name();
    register(interface, instance, "s3cret")
}

fn route(domains: &[&str], path: &str, backend: &str) -> Value {
    json!({ "domains": domains, "path": path, "backend_url": backend, "priority": 0 })
}

fn stage(interface: &mut dyn InterfaceClient, session: &str, mut route: Value) {
    route["session"] = json!(session);
    interface.call("ROUTE_ADD", &route).unwrap();
}

const OWN: &str = "http://127.0.0.1:1";

/// Everything that the rules of team-a refuse, through every command and field.
fn ways_round() -> Vec<(&'static str, &'static str, Value)> {
    let fine = || route(&["x.a.example"], "/api/1", OWN);
    let mut ways = vec![
        ("does not allow the service till", "REGISTER", json!({ "service": "till" })),
        ("allows at most 2 routes", "ROUTE_ADD_BULK", json!({ "routes": [fine(), fine()] })),
    ];
    for (rule, field, value) in [
        ("the domain b.example", "domains", json!(["b.example"])),
        ("the domain b.example", "domains", json!(["x.a.example", "b.example"])),
        ("the domain *", "domains", json!(["*"])),
        ("the domain a.example", "domains", json!(["a.example"])),
        ("the domain *.example", "domains", json!(["*.example"])),
        ("the path /", "path", json!("/")),
        ("the path /apix", "path", json!("/apix")),
        ("the backend http://10.0.0.1", "backend_url", json!("http://10.0.0.1:1")),
        ("the backend http://localhost", "backend_url", json!("http://localhost:1")),
        ("the backend http://[", "backend_url", json!("http://[::ffff:10.0.0.1]:1")),
        ("the backend http://[::1]", "backend_url", json!("http://[::1]:1")),
    ] {
        let mut way = fine();
        way[field] = value.clone();
        ways.push((rule, "ROUTE_ADD", way.clone()));
        ways.push((rule, "ROUTE_ADD_BULK", json!({ "routes": [way] })));
        ways.push((rule, "ROUTE_UPDATE", json!({ "route_id": "r1", field: value })));
    }
    for url in ["http://10.0.0.1:1", "http://localhost:1", "http://[::ffff:10.0.0.1]:1"] {
        for target in ["ALL", "r1"] {
            ways.push(("does not allow the page", "MAINT_ENTER", json!({ "target": target, "page_url": url })));
        }
        ways.push(("does not allow the backend", "BACKEND_TEST", json!({ "backend_url": url })));
    }
    ways
}

#[test]
fn no_command_of_any_interface_gets_round_a_rule_of_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let rules = "services = [\"shop\"]\ndomains = [\"*.a.example\"]\npath_prefixes = [\"/api\"]\n\
                 backends = [\"127.0.0.0/8\"]\nmax_routes = 2\nmax_sessions = 3\n";
    let server = start(folder.path(), &format!("{}{}", team_a(rules), team_b()));
    let mut interfaces = interfaces::all(&server);
    let mut sessions = Vec::new();
    for interface in &mut interfaces {
        let session = register_own(&mut **interface).unwrap();
        let path = format!("/api/{}", interface.name());
        stage(&mut **interface, &session, route(&["x.a.example"], &path, OWN));
        interface.call("CONFIG_APPLY", &json!({ "session": session })).unwrap();
        sessions.push(session);
    }
    for (interface, session) in interfaces.iter_mut().zip(&sessions) {
        let (name, asked) = (interface.name(), json!({ "session": session }));
        let before = (interface.call("ROUTE_LIST", &asked), interface.call("MAINT_STATUS", &asked));
        for (rule, verb, mut way) in ways_round() {
            way["session"] = json!(session);
            if verb == "REGISTER" {
                way["instance"] = json!(name);
                way["maintenance_port"] = json!(1);
                way["metadata"] = json!({ "token": "s3cret" });
                way["session"] = Value::Null;
            }
            let refused = interface.call(verb, &way).expect_err(&format!("{name}: {verb} {way}"));
            assert!(refused.message.contains(rule), "{name}: {verb} {way}: {refused:?}");
            assert!(matches!(refused.kind.as_deref(), None | Some("denied" | "limited")), "{name}: {refused:?}");
            let after = (interface.call("ROUTE_LIST", &asked), interface.call("MAINT_STATUS", &asked));
            assert_eq!(before, after, "{name}: {verb} {way} left something behind");
        }
        let refused = register(&mut **interface, "one-more", "s3cret").unwrap_err();
        assert!(refused.contains("token team-a allows at most 3 sessions"), "{name}: {refused}");
        for instance in ["pipe", "gRPC", "REST"] {
            let refused = register(&mut **interface, instance, "0ther-s3cret").unwrap_err();
            assert!(refused.contains("is registered under another token"), "{name}: {instance}: {refused}");
        }
        interface.call("SESSION_INFO", &asked).expect("the session is still there");
    }
}

/// Nobody under team-b takes an instance that registered under team-a.
fn nobody_takes_over(server: &Server) {
    for interface in &mut interfaces::all(server) {
        for instance in ["pipe", "gRPC", "REST"] {
            let refused = register(&mut **interface, instance, "0ther-s3cret").expect_err(instance);
            assert!(refused.contains("is registered under another token"), "{}: {refused}", interface.name());
        }
    }
}

#[test]
fn a_session_is_replaced_under_its_own_token_alone_over_restarts_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), "");
    // From before there were tokens: one that team-b may serve, and one that it may not.
    for (instance, domain) in [("before-1", "x.a.example"), ("before-2", "x.b.example")] {
        let mut client = server.connect();
        let session = client.register("shop", instance);
        client.serve(&session, domain, "/", "127.0.0.1:1".parse().unwrap());
    }
    server.kill();
    let server = start(folder.path(), &format!("{}{}", team_a(""), team_b()));
    for interface in &mut interfaces::all(&server) {
        let session = register_own(&mut **interface).unwrap();
        stage(&mut **interface, &session, route(&["x.a.example"], "/", OWN));
        interface.call("CONFIG_APPLY", &json!({ "session": session })).unwrap();
        // Under the same token: the first one's routes serve on until the second one's first apply.
        register_own(&mut **interface).unwrap();
        assert!(interface.call("PING", &json!({ "session": session })).is_err());
    }
    nobody_takes_over(&server);
    server.kill();
    let server = start(folder.path(), &format!("{}{}", team_a(""), team_b()));
    nobody_takes_over(&server);
    let mut client = server.connect();
    let refused = client.ask(r#"REGISTER|shop|before-1|9001|{"token":"0ther-s3cret"}"#);
    assert!(refused.contains("serves routes that token team-b does not allow"), "{refused}");
    assert!(client.ask(r#"REGISTER|shop|before-2|9001|{"token":"0ther-s3cret"}"#).starts_with("ACK|"));
    server.kill();
    // A token that is gone protects its sessions all the same.
    let server = start(folder.path(), &team_b());
    nobody_takes_over(&server);
}

#[test]
fn edits_staged_under_other_rules_are_applied_by_the_present_ones() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &team_a(""));
    let mut sessions = Vec::new();
    for interface in &mut interfaces::all(&server) {
        let session = register_own(&mut **interface).unwrap();
        stage(&mut **interface, &session, route(&["x.b.example"], "/", OWN));
        sessions.push(session);
    }
    server.kill();
    for (rules, why) in [("domains = [\"*.a.example\"]\n", "x.b.example"), ("backends = [\"10.0.0.0/8\"]\n", OWN)] {
        let server = start(folder.path(), &team_a(rules));
        for (interface, session) in interfaces::all(&server).iter_mut().zip(&sessions) {
            for verb in ["CONFIG_VALIDATE", "CONFIG_APPLY", "CONFIG_APPLY_PARTIAL"] {
                let refused =
                    interface.call(verb, &json!({ "session": session, "scopes": ["routes"] })).expect_err(verb);
                assert!(refused.message.contains(why), "{}: {verb}: {refused:?}", interface.name());
            }
        }
        server.kill();
    }
}
