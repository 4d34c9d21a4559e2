//! Registration tokens: who may register, what they may claim, and that a token is shown nowhere.

use std::path::Path;

use crate::server::Server;

/// `printf %s s3cret | sha256sum`
const S3CRET: &str = "1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0";

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
