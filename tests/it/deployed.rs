//! Behaviour that the deployed client and its services rely on.

use crate::server::eventually;
use crate::support::backend::{Backend, closed_port};
use crate::support::server_harness::{Instance, ServerHarness, StatusBackend};

/// An instance whose route `r1` is ill by checks that gate, and in maintenance.
fn ill_in_maintenance(harness: &ServerHarness, status_backend: &StatusBackend) -> Instance {
    let mut instance = harness.instance("shop-1", &status_backend.backend);
    instance.set("HEALTH_SET", "r1|/health|400ms|400ms");
    instance.expect("MAINT_ENTER", "ALL|", "ACK");
    assert_eq!(instance.client.pushed_line(), "MAINT_OK|ALL");
    status_backend.set_status(500);
    eventually("it is ill", || instance.payload("CIRCUIT_BREAKER_STATUS", "r1")["healthy"] == false);
    instance
}

/// Kind: after maintenance the routes serve at once, whatever was found before.
#[test]
fn the_check_that_ended_maintenance_counts_as_health() {
    for target in ["ALL", "r1", "/"] {
        let (harness, status_backend) = (ServerHarness::open(), StatusBackend::new(200));
        let mut instance = ill_in_maintenance(&harness, &status_backend);
        status_backend.set_status(200);
        instance.expect("MAINT_EXIT", target, "ACK");
        assert_eq!(instance.client.pushed_line(), format!("MAINT_OK|{target}"));
        assert_eq!(harness.status("/"), 200, "{target}");
    }
}

#[test]
fn a_breaker_that_was_open_before_maintenance_does_not_outlast_it() {
    let (harness, status_backend) = (ServerHarness::open(), StatusBackend::new(200));
    let mut instance = harness.instance("shop-1", &status_backend.backend);
    instance.set("CIRCUIT_BREAKER_SET", "r1|1|1h|1");
    status_backend.set_status(500);
    assert_eq!((harness.status("/"), harness.status("/")), (500, 503));
    instance.expect("MAINT_ENTER", "r1|", "ACK");
    assert_eq!(instance.client.pushed_line(), "MAINT_OK|r1");
    status_backend.set_status(200);
    instance.expect("MAINT_EXIT", "r1", "ACK");
    assert_eq!(instance.client.pushed_line(), "MAINT_OK|r1");
    assert_eq!((harness.status("/"), instance.breaker()), (200, "closed".to_owned()));
}

#[test]
fn changes_of_health_after_maintenance_are_sent_to_subscribers() {
    let (harness, status_backend) = (ServerHarness::open(), StatusBackend::new(200));
    let mut instance = ill_in_maintenance(&harness, &status_backend);
    instance.expect("SUBSCRIBE", "backend_health_changed", "SUBSCRIBE_OK");
    instance.client.told.clear();
    status_backend.set_status(200);
    instance.expect("MAINT_EXIT", "ALL", "ACK");
    let mut heard = [instance.client.pushed_line(), instance.client.pushed_line()];
    heard.sort();
    let [event, outcome] = heard;
    // On a busy machine two regular checks may come first.
    let reasons = ["it answered at the end of maintenance", "2 checks succeeded"];
    let is_told = |reason: &&str| event.contains(&format!(r#""healthy":true,"reason":"{reason}""#));
    assert!(reasons.iter().any(is_told), "{event}");
    assert_eq!(outcome, "MAINT_OK|ALL");
}

/// Kind: whatever is tested, it is found or it is not.
#[test]
fn a_backend_that_is_no_url_is_tested_and_not_found() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.empty("shop-1");
    let long = format!("http://{}", "x".repeat(3000));
    let none = [
        "",
        " ",
        "b",
        "b:80",
        "127.0.0.1:80",
        "//b",
        "://b",
        "http:/b",
        "http:b",
        "http://",
        "http:///x",
        "http://:80",
        "ftp://b",
        "file:///etc/passwd",
        "unix:///run/b.sock",
        "/run/b.sock",
        "mailto:a@b",
        "h2://b",
        "http://b:port",
        "http://b:-1",
        "http://b:65536",
        "http://b:99999999999999999999",
        "http://b:80:80",
        "http://[::1",
        "http://::1",
        "http://b c",
        " http://b",
        "http://b\\c",
        "http://user@b",
        "http://user:word@b",
        "http://b?q",
        "http://b#f",
        "http://*",
        "http://b..c",
        "http://-",
        "null",
        "{}",
        &long,
    ];
    for url in none {
        for (head, word) in [("", "BACKEND_FAIL|"), ("t1|", "BACKEND_FAIL|t1|")] {
            let line = format!("BACKEND_TEST|{}|{head}{url}", instance.session);
            let reply = instance.client.ask(&line);
            let Some(payload) = reply.strip_prefix(word) else { panic!("{head}{url}: {reply}") };
            let found: serde_json::Value = serde_json::from_str(payload).unwrap_or_else(|_| panic!("{reply}"));
            assert_eq!(found["reachable"], false, "{url}");
            assert!(
                found["error"].as_str().is_some_and(|why| !why.is_empty() && !why.contains("word")),
                "{url}: {found}"
            );
        }
    }
    assert!(instance.ask("BACKEND_TEST", &backend.url()).starts_with("BACKEND_OK|"));
    let unknown = instance.client.ask("BACKEND_TEST|nobody-1-2|no url");
    assert_eq!(unknown, "ERROR|invalid session: it has ended or never was; REGISTER again");
}

/// Kind: where the contract is silent, what is sent is taken for what it means.
#[test]
fn lines_that_are_almost_right_do_what_they_mean() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.empty("shop-1");
    let url = backend.url();
    let bare = |verb: &str, instance: &mut Instance| {
        let line = format!("{verb}|{}|", instance.session);
        instance.client.ask(&line)
    };
    assert_eq!(bare("PING", &mut instance), "PONG");
    instance.expect("ROUTE_ADD", &format!("a.com,|/|{url}|0|"), "ROUTE_OK|r1");
    let bulk = format!(
        r#"[{{"domains":"b.com,","path":"/","backend_url":"{url}","priority":"7"}},
        {{"domains":["b.com"],"path":"/x","backend_url":"{url}","priority":1.0}}]|"#
    )
    .replace('\n', " ");
    instance.expect(
        "ROUTE_ADD_BULK",
        &bulk,
        r#"ROUTE_BULK_OK|[{"route_id":"r2","status":"ok"},{"route_id":"r3","status":"ok"}]"#,
    );
    instance.expect("HEADERS_SET", "ALL|X-Powered-By|", "HEADERS_OK");
    for (way, read) in [("least_conn", "ALL"), ("ip_hash", "r1"), ("random", "r2"), ("roundrobin", "r3")] {
        instance.expect("OPTIONS_SET", &format!("{read}|load_balancing|{way}"), "OPTIONS_OK");
    }
    assert!(bare("CONFIG_DIFF", &mut instance).ends_with(r#""warnings":[]}"#));
    assert_eq!(bare("CONFIG_APPLY", &mut instance), "OK");
    for (host, path) in [("a.com", "/"), ("b.com", "/"), ("b.com", "/x")] {
        let answer = harness.get_of(host, path);
        assert_eq!((answer.status(), answer.field("x-powered-by")), (200, Some("")), "{host}{path}");
    }
    assert_eq!(instance.payload("ROUTE_LIST", "")[1]["priority"], 7);
}

/// Kind: what a takeover removes is told before it happens, also after a restart, and in few words.
#[test]
fn a_takeover_of_very_many_routes_is_told_in_a_line() {
    let (mut harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.empty("shop-1");
    for number in 0..30 {
        instance.add("*", &format!("/{number}"), &backend.url());
    }
    instance.apply();
    let mut instance = harness.empty("shop-1");
    let warnings = |instance: &mut Instance| instance.payload("CONFIG_DIFF", "")["warnings"].clone();
    let told = warnings(&mut instance);
    assert_eq!(told.as_array().unwrap().len(), 21);
    assert_eq!(told[20], "routes: 10 more of the session before go with the next apply");
    harness.restart();
    harness.reconnect(&mut instance);
    assert_eq!(warnings(&mut instance), told);
    instance.expect("CONFIG_VALIDATE", "t1", "OK|t1");
    instance.apply();
    assert_eq!(warnings(&mut instance), serde_json::json!([]));
}

const DRAIN: &str = "/v1/instances/shop/shop-1/drain";
const MAINTENANCE: &str = "/v1/instances/shop/shop-1/maintenance";

/// Kind: what an operator ordered for an instance is in force until an operator, or the client in so many words, takes it back.
#[test]
fn an_operators_drain_outlasts_the_sessions_of_its_instance() {
    let (mut harness, one, two) = (ServerHarness::open(), Backend::named("one"), Backend::named("two"));
    harness.instance("shop-1", &one);
    let mut other = harness.instance("shop-2", &two);
    let only_two = |harness: &ServerHarness| (0..20).all(|_| harness.get("/").text() == "two");
    assert_eq!(harness.operate("PUT", DRAIN, r#"{"duration":"1ms"}"#), 200);
    eventually("the drain is over", || only_two(&harness));
    let mut instance = harness.instance("shop-1", &one);
    assert!(only_two(&harness), "it has registered anew");
    let drained = instance.payload("DRAIN_STATUS", "");
    assert_eq!((&drained["active"], &drained["traffic_percent"]), (&true.into(), &0.into()));
    harness.crash();
    assert!(only_two(&harness));
    // Twice, the first time without an apply.
    harness.empty("shop-1");
    let mut instance = harness.instance("shop-1", &one);
    assert!(only_two(&harness), "after a restart, too");
    assert_eq!(instance.payload("DRAIN_STATUS", "")["started_at"], drained["started_at"]);
    assert!(instance.ask("DRAIN_START", "1ms").starts_with("DRAIN_OK|"), "a client may drain what is drained");
    let mut instance = harness.instance("shop-1", &one);
    instance.payload("DRAIN_STATUS", "");
    assert_eq!(harness.operate("DELETE", DRAIN, ""), 204);
    eventually("it serves again", || (0..20).any(|_| harness.get("/").text() == "one"));
    harness.instance("shop-1", &one).expect("DRAIN_STATUS", "", "ERROR|no drain in progress");
    harness.reconnect(&mut other);
    other.expect("DRAIN_STATUS", "", "ERROR|no drain in progress");
}

#[test]
fn an_operators_maintenance_outlasts_the_sessions_of_its_instance() {
    let (mut harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let serve = |harness: &ServerHarness| {
        let mut instance = harness.empty("shop-1");
        // In another order each time: ids say nothing across sessions.
        instance.add("*", "/other", &backend.url());
        for path in ["/admin", "/"] {
            instance.add("*", path, &backend.url());
        }
        instance.apply();
        instance
    };
    let statuses = |harness: &ServerHarness| ["/", "/admin", "/other"].map(|path| harness.status(path));
    let mut first = harness.empty("shop-1");
    for path in ["/", "/admin", "/other"] {
        first.add("*", path, &backend.url());
    }
    first.apply();
    assert_eq!(harness.operate("PUT", MAINTENANCE, r#"{"target":"/admin"}"#), 202);
    assert_eq!(statuses(&harness), [200, 503, 200]);
    serve(&harness);
    assert_eq!(statuses(&harness), [200, 503, 200], "one of its routes, in the next session");
    harness.crash();
    serve(&harness);
    assert_eq!(statuses(&harness), [200, 503, 200], "and after a restart");
    assert_eq!(harness.operate("PUT", MAINTENANCE, r#"{"page_url":"http://127.0.0.1:1/down"}"#), 202);
    let mut instance = serve(&harness);
    assert_eq!(statuses(&harness), [503; 3]);
    let status = instance.payload("MAINT_STATUS", "");
    assert_eq!(status["maintenance_backend"], "http://127.0.0.1:1/down");
    harness.crash();
    let mut instance = serve(&harness);
    assert_eq!(statuses(&harness), [503; 3]);
    assert_eq!(instance.payload("MAINT_STATUS", "")["entered_at"], status["entered_at"]);
    instance.expect("MAINT_EXIT", "/other", "ACK");
    assert_eq!(instance.client.pushed_line(), "MAINT_OK|/other");
    serve(&harness);
    assert_eq!(statuses(&harness), [503, 503, 200], "one that was let out stays so");
    assert_eq!(harness.operate("DELETE", MAINTENANCE, ""), 202);
    eventually("all serve", || statuses(&harness) == [200; 3]);
    serve(&harness);
    assert_eq!(statuses(&harness), [200; 3], "what was taken back does not come again");
}

#[test]
fn maintenance_that_was_to_be_left_is_not_begun_again_by_the_next_session() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    for target in ["ALL", "/"] {
        let mut instance = harness.empty("shop-1");
        instance.add("*", "/", &format!("http://{}", closed_port()));
        instance.apply();
        let order = format!(r#"{{"target":"{target}"}}"#);
        assert_eq!(harness.operate("PUT", MAINTENANCE, &order), 202);
        let leave = format!("{MAINTENANCE}?target={}", target.replace('/', "%2F"));
        assert_eq!(
            (harness.operate("DELETE", &leave, ""), harness.status("/")),
            (202, 503),
            "its backend does not answer yet"
        );
        harness.instance("shop-1", &backend);
        assert_eq!(harness.status("/"), 200, "{target}");
    }
}

#[test]
fn drains_and_maintenance_of_a_client_end_with_its_session() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.instance("shop-1", &backend);
    assert!(instance.ask("DRAIN_START", "1h").starts_with("DRAIN_OK|"));
    for target in ["ALL", "r1"] {
        instance.expect("MAINT_ENTER", &format!("{target}|"), "ACK");
        assert_eq!(instance.client.pushed_line(), format!("MAINT_OK|{target}"));
    }
    assert_eq!(harness.status("/"), 503);
    let mut instance = harness.instance("shop-1", &backend);
    assert_eq!(harness.status("/"), 200);
    instance.expect("DRAIN_STATUS", "", "ERROR|no drain in progress");
    assert_eq!(instance.payload("MAINT_STATUS", "")["in_maintenance"], serde_json::json!([]));
}

/// Kind: policies can be taken back.
#[test]
fn a_policy_that_is_taken_back_stays_so_after_a_restart() {
    let (mut harness, status_backend) = (ServerHarness::open(), StatusBackend::new(500));
    let mut instance = harness.instance("shop-1", &status_backend.backend);
    instance.set("HEALTH_SET", "r1|/health|100ms|100ms");
    eventually("its checks gate", || harness.status("/") == 503);
    instance.set("HEALTH_REMOVE", "r1");
    eventually("the default check refuses nobody", || harness.status("/") == 500);
    instance.set("CIRCUIT_BREAKER_SET", "ALL|1|1h|1");
    eventually("its breaker is open", || harness.status("/") == 503);
    instance.set("CIRCUIT_BREAKER_REMOVE", "ALL");
    instance.set("RATELIMIT_SET", "r1|1|1h");
    assert_eq!([harness.status("/"), harness.status("/")], [500, 429]);
    instance.expect("RATELIMIT_REMOVE", "t1|r1", "RATELIMIT_OK|t1");
    harness.restart();
    harness.reconnect(&mut instance);
    assert_eq!([harness.status("/"), harness.status("/")], [500, 429], "it is staged");
    assert_eq!(instance.payload("CONFIG_DIFF", "")["ratelimit"]["removed"], 1, "it is staged still");
    instance.apply();
    harness.restart();
    harness.reconnect(&mut instance);
    assert_eq!([(); 3].map(|()| harness.status("/")), [500; 3]);
}

/// Kind: what health checks ask for is asked for as it was written.
#[test]
fn health_paths_are_asked_for_as_they_are_written() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.empty("shop-1");
    let checked = |backend: &Backend, wanted: &str| eventually(wanted, || backend.checked().target() == wanted);
    instance.add("*", "/", &format!("{}/base/", backend.url()));
    for path in ["/health/", "/health?full=1", "/health/?a=1&b=%2F", "/a//b", "/"] {
        instance.set("HEALTH_SET", &format!("r1|{path}|200ms|200ms"));
        checked(&backend, &format!("/base{path}"));
    }
    let mut instance = harness.empty("shop-2");
    instance.add("other", "/", &format!("{}/base/", backend.url()));
    instance.set("OPTIONS_SET", "ALL|health_check_interval|200ms");
    for path in ["/option/", "/option?full=1"] {
        instance.set("OPTIONS_SET", &format!("r1|health_check_path|{path}"));
        checked(&backend, &format!("/base{path}"));
    }
    // These bytes are in no target, so no answer could come to a check that sent them.
    instance.set("OPTIONS_SET", "r1|health_check_path|/option?<a>=<b>");
    checked(&backend, "/base/option?%3Ca%3E=%3Cb%3E");
}

#[test]
fn maintenance_ends_with_the_same_request_as_a_health_check() {
    let (harness, backend) = (ServerHarness::open(), Backend::named("b"));
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/", &backend.url());
    instance.apply();
    let leave = |instance: &mut Instance, verb: &str, setting: &str, wanted: &str| {
        instance.set(verb, setting);
        instance.expect("MAINT_ENTER", "r1|", "ACK");
        assert_eq!(instance.client.pushed_line(), "MAINT_OK|r1");
        instance.expect("MAINT_EXIT", "r1", "ACK");
        assert_eq!(instance.client.pushed_line(), "MAINT_OK|r1");
        assert_eq!(backend.heard().target(), wanted);
    };
    leave(&mut instance, "OPTIONS_SET", "ALL|health_check_path|/all/?x", "/all/?x");
    leave(&mut instance, "OPTIONS_SET", "r1|health_check_path|/own", "/own");
    leave(&mut instance, "HEALTH_SET", "r1|/set/?y=1|1h|1s", "/set/?y=1");
    for option in ["health_check_host|in.example", "health_check_method|HEAD", "health_check_status|404,503"] {
        instance.set("OPTIONS_SET", &format!("r1|{option}"));
    }
    let odd = Backend::answering("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n");
    instance.set("ROUTE_UPDATE", &format!("r1|backend_url|{}", odd.url()));
    instance.expect("MAINT_ENTER", "r1|", "ACK");
    assert_eq!(instance.client.pushed_line(), "MAINT_OK|r1");
    instance.expect("MAINT_EXIT", "r1", "ACK");
    assert_eq!(instance.client.pushed_line(), "MAINT_OK|r1");
    let heard = odd.heard();
    assert_eq!((heard.line.as_str(), heard.field("host")), ("HEAD /set/?y=1 HTTP/1.1", Some("in.example")));
}
