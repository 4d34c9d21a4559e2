//! Sessions, as a person at `nc`, a deployed client and an operator at a shell see them.

use std::io::Write;
use std::process::Command;

use crate::server::{Backend, Server, eventually};

#[test]
fn the_session_of_the_readme_makes_traffic_flow() {
    let backend = Backend::start("shop");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    assert_eq!(server.get("shop.example", "/").0, 404);
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    let route = format!("ROUTE_ADD|{session}|shop.example|/|http://{}|0", backend.address);
    assert_eq!(client.ask(&route), "ROUTE_OK|r1");
    assert_eq!(server.get("shop.example", "/").0, 404, "nothing staged reaches traffic");
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    assert_eq!(server.get("shop.example", "/a?b=c"), (200, "shop: GET /a?b=c HTTP/1.1".to_owned()));
    // It is counted when its last byte is on its way, which the client may see first.
    eventually("the request is counted", || {
        let stats = client.ask(&format!("STATS_GET|{session}|r1"));
        stats.contains("\"requests\":1,\"errors\":0") && stats.contains("\"200\":1")
    });
    assert_eq!(client.ask(&format!("CLIENT_SHUTDOWN|{session}")), "SHUTDOWN_OK");
    assert!(client.is_closed());
    assert_eq!(server.get("shop.example", "/").0, 404, "routes go at once");
}

#[test]
fn commands_on_connections_of_their_own_work_as_well_as_on_one() {
    let backend = Backend::start("shop");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let session = server.once("REGISTER|shop|shop-1|9001|{}").strip_prefix("ACK|").unwrap().to_owned();
    assert_eq!(server.once(&format!("ROUTE_ADD|{session}|shop.example|/|http://{}|0", backend.address)), "ROUTE_OK|r1");
    assert_eq!(server.once(&format!("HEADERS_SET|{session}|t7|ALL|X-A|1")), "HEADERS_OK|t7");
    assert_eq!(server.once(&format!("CONFIG_APPLY|{session}")), "OK");
    assert_eq!(server.once(&format!("RECONNECT|{session}")), "OK");
    assert_eq!(server.get("shop.example", "/").0, 200);
}

#[test]
fn two_thousand_commands_written_at_once_are_answered_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    let lines: String = (0..2000)
        .map(|number| match number % 4 {
            3 => format!("PING|{session}|t{number}\n"),
            _ => format!("ROUTE_ADD|{session}|t{number}|h{number}.example|/|http://127.0.0.1:1|0\n"),
        })
        .collect();
    let mut writer = client.writer.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(lines.as_bytes()));
    let mut routes = 0;
    for number in 0..2000 {
        let expected = if number % 4 == 3 {
            format!("PONG|t{number}")
        } else {
            routes += 1;
            format!("ROUTE_OK|t{number}|r{routes}")
        };
        assert_eq!(client.try_reply().unwrap(), expected);
    }
    writing.join().unwrap().unwrap();
}

#[test]
fn a_restarting_instance_causes_no_gap() {
    let (old_backend, new_backend) = (Backend::start("old"), Backend::start("new"));
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut old = server.connect();
    let first = old.register("shop", "shop-1");
    old.serve(&first, "shop.example", "/", old_backend.address);
    let mut new = server.connect();
    let second = new.register("shop", "shop-1");
    assert_eq!(
        old.ask(&format!("PING|{first}")),
        "ERROR|invalid session: a newer registration of its instance has replaced it"
    );
    assert!(server.get("shop.example", "/").1.starts_with("old"));
    new.ask(&format!("ROUTE_ADD|{second}|shop.example|/|http://{}|0", new_backend.address));
    assert!(server.get("shop.example", "/").1.starts_with("old"));
    new.ask(&format!("CONFIG_APPLY|{second}"));
    assert!(server.get("shop.example", "/").1.starts_with("new"));
}

#[test]
fn a_claim_of_another_service_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let blog = client.register("blog", "blog-1");
    client.serve(&blog, "example.org", "/", "127.0.0.1:1".parse().unwrap());
    let shop = client.register("shop", "shop-1");
    client.ask(&format!("ROUTE_ADD|{shop}|example.org|/|http://127.0.0.1:2|0"));
    let refused = "ERROR|route r1: example.org / at priority 0 is held by service blog";
    assert_eq!(client.ask(&format!("CONFIG_VALIDATE|{shop}")), refused);
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{shop}")), refused);
}

#[test]
fn instances_of_one_service_share_its_traffic() {
    let backends = [Backend::start("one"), Backend::start("two")];
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for (number, backend) in backends.iter().enumerate() {
        let mut client = server.connect();
        let session = client.register("shop", &format!("shop-{number}"));
        client.serve(&session, "shop.example", "/", backend.address);
    }
    let answers: std::collections::BTreeSet<String> = (0..200).map(|_| server.get("shop.example", "/").1).collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
}

#[test]
fn no_session_id_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--log-level", "trace"]);
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", "127.0.0.1:1".parse().unwrap());
    client.ask(&format!("OPTIONS_SET|{session}|ALL|nonsense|1"));
    client.ask(&format!("CONFIG_APPLY|{session}"));
    client.ask(&format!("PING|{session}x"));
    server.get("shop.example", "/");
    let log = server.log.clone();
    assert!(server.terminate().success());
    let log = std::fs::read_to_string(log).unwrap();
    assert!(log.contains("nonsense"), "the unknown option is warned of");
    let secret = session.rsplit('-').next().unwrap();
    assert!(!log.contains(secret), "the secret part stands in the log");
}

#[test]
fn a_taken_port_says_which_and_by_which_setting() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let other = tempfile::tempdir().unwrap();
    let interfaces = [
        ("--pipe-listen", "pipe.listen", server.pipe),
        ("--api-listen", "api.listen", server.api),
        ("--proxy-http", "proxy.http", server.proxy),
    ];
    for (flag, key, address) in interfaces {
        let store = format!("sqlite://{}/x.db", other.path().display());
        let mut given = Command::new(env!("CARGO_BIN_EXE_signalbox"));
        given.args(["--store-url", &store, flag, &address.to_string()]);
        let free = interfaces.iter().filter(|(other, ..)| *other != flag);
        given.args(free.flat_map(|(flag, ..)| [*flag, "127.0.0.1:0"]));
        let output = given.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(said.contains(&address.to_string()) && said.contains(key) && said.contains(flag), "{said}");
    }
}

#[test]
fn a_bad_configuration_file_stops_the_start_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("signalbox.toml");
    std::fs::write(&file, "[session]\ngrace = \"never\"\n").unwrap();
    let output = Server::command(folder.path()).arg("--config").arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("signalbox.toml:2:") && said.contains("500ms, 30s, 1m30s or 2h"), "{said}");
    assert!(!folder.path().join("signalbox.db").exists(), "nothing was touched");
}

#[test]
fn events_reach_the_bound_connection_of_a_subscribed_session() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    assert_eq!(client.ask(&format!("SUBSCRIBE|{session}|config_applied")), "SUBSCRIBE_OK");
    server.once(&format!("ROUTE_ADD|{session}|shop.example|/|http://127.0.0.1:1|0"));
    server.once(&format!("CONFIG_APPLY|{session}"));
    assert_eq!(client.pushed_line(), "EVENT|config_applied|{\"revision\":1}");
}

#[test]
fn a_session_that_nobody_comes_back_to_loses_its_routes_after_the_grace_period() {
    let backend = Backend::start("shop");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--session-grace", "400ms"]);
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", backend.address);
    assert_eq!(server.get("shop.example", "/").0, 200);
    drop(client);
    eventually("the routes go", || server.get("shop.example", "/").0 == 404);
    assert_eq!(server.once(&format!("RECONNECT|{session}")), "REREGISTER");
    assert_eq!(
        server.once(&format!("PING|{session}")),
        "ERROR|invalid session: it has ended or never was; REGISTER again"
    );
}

#[test]
fn staged_changes_that_nobody_touches_are_dropped_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--session-staged-ttl", "200ms"]);
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.ask(&format!("SUBSCRIBE|{session}|all"));
    client.ask(&format!("ROUTE_ADD|{session}|shop.example|/|http://127.0.0.1:1|0"));
    assert_eq!(client.pushed_line(), "EVENT|staged_config_expired|{}");
    assert_eq!(client.ask(&format!("ROUTE_LIST|{session}")), "ROUTE_LIST_OK|[]");
}

#[test]
fn maintenance_is_left_when_the_backends_answer_and_survives_a_kill() {
    let backend = Backend::start("shop");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", backend.address);
    let page = Backend::start("page");
    assert_eq!(client.ask(&format!("MAINT_ENTER|{session}|t1|ALL|http://{}/down", page.address)), "ACK|t1");
    assert_eq!(client.pushed_line(), "MAINT_OK|ALL");
    assert_eq!(client.ask(&format!("DRAIN_START|{session}|1h")).split('|').next(), Some("DRAIN_OK"));
    server.kill();

    let server = Server::start(folder.path());
    let mut client = server.connect();
    assert_eq!(client.ask(&format!("RECONNECT|{session}")), "OK");
    let status = client.ask(&format!("MAINT_STATUS|{session}"));
    let expected = format!("\"in_maintenance\":[\"r1\"],\"maintenance_backend\":\"http://{}/down\"", page.address);
    assert!(status.contains(&expected), "{status}");
    assert!(client.ask(&format!("DRAIN_STATUS|{session}")).starts_with("DRAIN_STATUS_OK|{\"active\":true"));
    assert_eq!(client.ask(&format!("MAINT_EXIT|{session}|r1")), "ACK");
    assert_eq!(client.pushed_line(), "MAINT_OK|r1");
    assert!(client.ask(&format!("MAINT_STATUS|{session}")).contains("\"in_maintenance\":[]"));
}

#[test]
fn a_burst_of_events_that_no_outbox_holds_is_told_as_lagged() {
    const ROUTES: usize = 1000;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut bound = server.connect();
    let session = bound.register("busy", "busy-1");
    let routes: Vec<String> = (0..ROUTES)
        .map(|number| {
            format!("{{\"domains\":[\"h{number}.example\"],\"path\":\"/\",\"backend_url\":\"http://127.0.0.1:1\"}}")
        })
        .collect();
    assert!(bound.ask(&format!("ROUTE_ADD_BULK|{session}|[{}]", routes.join(","))).starts_with("ROUTE_BULK_OK|"));
    assert_eq!(bound.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    assert_eq!(bound.ask(&format!("SUBSCRIBE|{session}|maintenance_changed")), "SUBSCRIBE_OK");
    let ids: Vec<String> = (1..=ROUTES).map(|id| format!("r{id}")).collect();
    assert_eq!(server.once(&format!("MAINT_ENTER|{session}|{}|", ids.join(","))), "ACK");

    let (mut told, mut missed) = (0, 0);
    while told + missed < ROUTES {
        let line = bound.pushed_line();
        match line.strip_prefix("EVENT|lagged|{\"missed\":") {
            Some(rest) => missed += rest.trim_end_matches('}').parse::<usize>().unwrap(),
            None => told += usize::from(line.starts_with("EVENT|maintenance_changed|")),
        }
    }
    assert_eq!(told + missed, ROUTES, "every event is told, or counted as missed");
    assert!(missed > 0 && told >= 256, "{told} told, {missed} missed");
    assert_eq!(bound.ask(&format!("PING|{session}")), "PONG", "the connection lives on");
}
