//! Health checks send what clients send, new members wait for their first check, and health events are true.

use std::time::{Duration, Instant};

use crate::server::{Client, Server, eventually};
use crate::support::backend::Backend;
use crate::support::server_harness::Gate;

fn ok(client: &mut Client, line: &str) {
    let reply = client.ask(line);
    assert!(reply.split('|').next().is_some_and(|word| word.ends_with("OK")), "{line}: {reply}");
}

/// A session of `shop` with one route, `r1`, and options, not applied yet.
fn staged(server: &Server, instance: &str, domains: &str, backend: &str, options: &[(&str, &str)]) -> (Client, String) {
    let mut client = server.connect();
    let session = client.register("shop", instance);
    ok(&mut client, &format!("ROUTE_ADD|{session}|{domains}|/|{backend}|0"));
    for (key, value) in options {
        ok(&mut client, &format!("OPTIONS_SET|{session}|r1|{key}|{value}"));
    }
    (client, session)
}

/// A route's domains and options, and the request line and `Host` that its backend is to hear; `None` for its own name.
type Case = (&'static str, &'static [(&'static str, &'static str)], &'static str, Option<&'static str>);

#[test]
fn a_check_says_the_host_that_clients_say_and_what_options_set() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let cases: [Case; 6] = [
        ("*.a.example,Shop.example,b.example", &[], "GET / HTTP/1.1", Some("shop.example")),
        ("*.c.example", &[], "GET / HTTP/1.1", None),
        ("d.example", &[("preserve_host", "false")], "GET / HTTP/1.1", None),
        ("e.example", &[("health_check_host", "in.example:8080")], "GET / HTTP/1.1", Some("in.example:8080")),
        (
            "f.example",
            &[("preserve_host", "false"), ("health_check_host", "in.example")],
            "GET / HTTP/1.1",
            Some("in.example"),
        ),
        ("g.example", &[("health_check_method", "head")], "HEAD / HTTP/1.1", Some("g.example")),
    ];
    for (number, (domains, options, line, host)) in cases.into_iter().enumerate() {
        let backend = Backend::named("b");
        let (mut client, session) = staged(&server, &format!("shop-{number}"), domains, &backend.url(), options);
        ok(&mut client, &format!("CONFIG_APPLY|{session}"));
        let own = backend.url()[7..].to_owned();
        let heard = backend.checked();
        assert_eq!((heard.line.as_str(), heard.field("host")), (line, Some(host.unwrap_or(&own))), "{domains}");
    }
}

#[test]
fn the_first_failure_is_told_at_once_with_its_reason_and_a_set_status_is_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let backend = Backend::answering("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n");
    let status = |client: &mut Client, session: &str| client.ask(&format!("CIRCUIT_BREAKER_STATUS|{session}|r1"));
    let (mut client, session) = staged(&server, "shop-1", "a.example", &backend.url(), &[]);
    ok(&mut client, &format!("SUBSCRIBE|{session}|backend_health_changed"));
    ok(&mut client, &format!("CONFIG_APPLY|{session}"));
    let told = r#"EVENT|backend_health_changed|{"route_id":"r1","healthy":false,"reason":"status 503"}"#;
    assert_eq!(client.pushed_line(), told, "long before three checks of 30 s");
    let known = status(&mut client, &session);
    assert!(known.contains(r#""healthy":false"#) && known.contains(r#""error":"status 503"}"#), "{known}");

    let expected = [("health_check_status", "200-399,503"), ("health_check_method", "HEAD")];
    let (mut other, sister) = staged(&server, "shop-2", "b.example", &backend.url(), &expected);
    ok(&mut other, &format!("CONFIG_APPLY|{sister}"));
    eventually("its check has passed", || {
        status(&mut other, &sister).contains(r#""error":null},"last_failed_check":null"#)
    });
}

#[test]
fn an_answer_counts_as_the_options_say_for_both_kinds_of_check() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    // The status of the answer, the option, and what comes of it by default and with `HEALTH_SET`.
    let cases = [
        (200, None, [true, true]),
        (302, None, [true, true]),
        (404, None, [true, false]),
        (500, None, [false, false]),
        (404, Some("200-399"), [false, false]),
        (302, Some("200-299"), [false, false]),
        (204, Some("200"), [false, false]),
        (401, Some("200,401-403"), [true, true]),
        (500, Some("200-599"), [true, true]),
        (503, Some("503"), [true, true]),
    ];
    for (number, (status, option, expected)) in cases.into_iter().enumerate() {
        for (explicit, expected) in [false, true].into_iter().zip(expected) {
            let backend = Backend::answering(format!(
                "HTTP/1.1 {status} So\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
            ));
            let options: Vec<_> = option.map(|value| ("health_check_status", value)).into_iter().collect();
            let name = format!("c{number}-{explicit}");
            let all = [&options[..], &[("health_check_host", "in.example"), ("health_check_method", "HEAD")]].concat();
            let (mut client, session) = staged(&server, &name, &format!("{name}.example"), &backend.url(), &all);
            if explicit {
                ok(&mut client, &format!("HEALTH_SET|{session}|r1|/well?full=1|1m|1m"));
            }
            ok(&mut client, &format!("CONFIG_APPLY|{session}"));
            let heard = backend.checked();
            let line = if explicit { "HEAD /well?full=1 HTTP/1.1" } else { "HEAD / HTTP/1.1" };
            assert_eq!((heard.line.as_str(), heard.field("host")), (line, Some("in.example")));
            let mut known = String::new();
            eventually("the check has ended", || {
                known = client.ask(&format!("CIRCUIT_BREAKER_STATUS|{session}|r1"));
                !known.contains(r#""last_check":null"#)
            });
            let is_well = known.contains(r#""healthy":true"#) && known.contains(r#""last_failed_check":null"#);
            let is_ill =
                known.contains(r#""healthy":false"#) && known.contains(&format!(r#""error":"status {status}"}}"#));
            assert_eq!((is_well, is_ill), (expected, !expected), "{status} {option:?} {explicit}: {known}");
            assert!(backend.checked_no_more(), "no redirect is followed");
        }
    }
}

#[test]
fn an_option_of_checks_that_means_nothing_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    for (key, values) in [
        ("health_check_status", ["99", "200-", "399-200", "200-1000", "ok"]),
        ("health_check_method", ["POST", "get head", "HEAD,GET", "*", "OPTIONS"]),
        ("health_check_host", ["a b", "http://a", "a/b", "*.a", "a:b"]),
    ] {
        for value in values {
            let reply = client.ask(&format!("OPTIONS_SET|{session}|ALL|{key}|{value}"));
            assert!(reply.starts_with(&format!("ERROR|{key}: ")), "{key} {value:?}: {reply}");
        }
    }
}

#[test]
fn a_new_member_gets_requests_once_its_first_check_has_passed_and_few_at_first() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let old = Backend::named("old");
    let (mut client, session) = staged(&server, "shop-1", "a.example", &old.url(), &[]);
    ok(&mut client, &format!("CONFIG_APPLY|{session}"));
    server.kill();
    // A member that served before the start counts as healthy for long.
    let server = Server::start(folder.path());
    let gate = Gate::default();
    let waits = gate.clone();
    let new = Backend::new(move |mut wire| {
        while let Some(request) = wire.message() {
            if request.field("user-agent") == Some("signalbox") {
                waits.wait();
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nnew");
        }
    });
    let slowly = [("health_check_interval", "1m"), ("health_check_timeout", "1m")];
    let (mut client, session) = staged(&server, "shop-2", "a.example", &new.url(), &slowly);
    ok(&mut client, &format!("CONFIG_APPLY|{session}"));
    for request in 0..50 {
        assert_eq!(server.get("a.example", "/").1, "old", "request {request}, while the check hangs");
    }
    gate.open();
    eventually("it gets a request", || server.get("a.example", "/").1 == "new");
    // It grows to a half in 10 s; a slow machine must not see that.
    let soon = Instant::now() + Duration::from_secs(2);
    let served: Vec<String> =
        (0..300).take_while(|_| Instant::now() < soon).map(|_| server.get("a.example", "/").1).collect();
    let share = served.iter().filter(|name| *name == "new").count();
    assert!(share * 3 <= served.len(), "{share} of {}", served.len());
}

#[test]
fn a_new_member_that_fails_gets_no_requests_while_another_is_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let good = Backend::named("good");
    let (mut client, session) = staged(&server, "shop-1", "a.example", &good.url(), &[]);
    ok(&mut client, &format!("CONFIG_APPLY|{session}"));
    let passed = |client: &mut Client| {
        client
            .ask(&format!("CIRCUIT_BREAKER_STATUS|{session}|r1"))
            .contains(r#""error":null},"last_failed_check":null"#)
    };
    eventually("its check has passed", || passed(&mut client));
    let bad = Backend::answering("HTTP/1.1 500 No\r\ncontent-length: 3\r\n\r\nbad");
    let (mut other, sister) = staged(&server, "shop-2", "a.example", &bad.url(), &[]);
    ok(&mut other, &format!("CONFIG_APPLY|{sister}"));
    for request in 0..50 {
        assert_eq!(server.get("a.example", "/"), (200, "good".to_owned()), "request {request}");
    }
}
