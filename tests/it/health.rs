//! Health checks ask as clients do, new members wait for their first check, and what is told is true.

use crate::server::{Client, Server, eventually};
use crate::support::backend::Backend;

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
    assert_eq!(client.hear(), told, "long before three checks of 30 s");
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
