//! Heads that cannot be read: each is refused with an id, and told of like every other refusal.

use crate::server::eventually;
use crate::support::backend::Backend;
use crate::support::http2_client::Http2Client;
use crate::support::server_harness::ServerHarness;
use crate::support::wire::Wire;

const GOOD: &str = "GET /good HTTP/1.1\r\nhost: a\r\n\r\n";

/// Heads that hyper refuses, with the status, and the method and path that can be told.
fn unreadable() -> Vec<(String, u16, &'static str, &'static str)> {
    let head = |fields: &str| format!("GET /x HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    vec![
        ("hello\r\n\r\n".to_owned(), 400, "hello", "*"),
        ("\r\nG(T /x HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400, "-", "/x"),
        ("GET /x HTTP/9.9\r\nhost: a\r\n\r\n".to_owned(), 400, "GET", "/x"),
        ("GET /x HTTP/2.0\r\nhost: a\r\n\r\n".to_owned(), 400, "GET", "/x"),
        ("GET  /x HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400, "GET", "*"),
        ("GET a|b HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), 400, "GET", "*"),
        (head("x: \0\r\n"), 400, "GET", "/x"),
        (head("b ad: 1\r\n"), 400, "GET", "/x"),
        (head(" folded: 1\r\n"), 400, "GET", "/x"),
        (head("no colon\r\n"), 400, "GET", "/x"),
        (head("content-length: x\r\n"), 400, "GET", "/x"),
        (head("content-length: 1\r\ncontent-length: 2\r\n"), 400, "GET", "/x"),
        (head("transfer-encoding: xchunked\r\n"), 400, "GET", "/x"),
        (head(&"x: 1\r\n".repeat(200)), 431, "GET", "/x"),
        (head(&format!("x: {}\r\n", "x".repeat(70_000))), 431, "GET", "/x"),
    ]
}

#[test]
fn every_head_that_cannot_be_read_is_refused_with_an_id_that_leads_to_it() {
    let backend = Backend::named("b");
    let harness = ServerHarness::open();
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/", &backend.url());
    instance.apply();
    let before = ["", GOOD];
    for (head, status, method, path) in unreadable() {
        // Alone, after an answer, and behind a request that is not answered yet.
        for (before, at_once) in [(before[0], false), (before[1], false), (before[1], true)] {
            let mut wire = harness.connect();
            let sent = if at_once { format!("{before}{head}") } else { before.to_owned() };
            wire.send(sent);
            if !before.is_empty() {
                assert_eq!(wire.message().unwrap().text(), "b", "{head:?}");
            }
            if !at_once {
                wire.send(&head);
            }
            let answer = wire.message().unwrap_or_else(|| panic!("no answer: {head:?}"));
            assert_eq!(answer.status(), status, "{head:?}");
            let told = super::told_of(&harness, &answer, "http_request_error");
            let reason = if status == 431 { "head_too_large" } else { "bad_request" };
            let found = (&told["method"], &told["path"], &told["reason"], &told["status"]);
            assert_eq!(found, (&method.into(), &path.into(), &reason.into(), &status.into()), "{head:?}");
            assert_ne!(told["revision"], 0, "one was applied: {told}");
            assert!(wire.has_ended(), "{head:?}");
        }
    }
    let mut scrape = Wire::connect(harness.server().api);
    scrape.send("GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let metrics = scrape.message().unwrap();
    for reason in ["bad_request", "head_too_large"] {
        let series = format!(r#"signalbox_refusals_total{{service="",instance="",route="",reason="{reason}"}}"#);
        assert!(metrics.text().contains(&series), "{}", metrics.text());
    }
    let mut client = Http2Client::connect(harness.server().proxy);
    let large = http::Request::get("http://a/large").header("x", "x".repeat(70_000)).body(()).unwrap();
    let (response, _) = client.begin(large, true);
    let answer = client.finish(response).unwrap();
    let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!((answer.status.as_u16(), answer.text().contains(&id)), (431, true));
    eventually("it is told", || harness.told("/v1/requests?limit=1")["items"][0]["id"] == id.as_str());
}
