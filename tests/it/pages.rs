//! Maintenance pages, as the clients of a route in maintenance see them.

use crate::server::{Client, Server, eventually};
use crate::support::backend::{Backend, closed_port};
use crate::support::server_harness::echo;
use crate::support::wire::{Message, Wire};

/// A session with a route in maintenance, its page at `url`.
fn in_maintenance(server: &Server, url: &str) -> (Client, String) {
    let backend = Backend::named("b");
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", backend.address());
    assert_eq!(client.ask(&format!("MAINT_ENTER|{session}|ALL|{url}")), "ACK");
    (client, session)
}

/// The answer to a request whose line and fields these are.
fn asked(server: &Server, line: &str, fields: &str) -> Message {
    let mut wire = Wire::connect(server.proxy);
    wire.send(format!("{line} HTTP/1.1\r\nhost: shop.example\r\n{fields}\r\n"));
    if line.starts_with("HEAD") { wire.head() } else { wire.message() }.expect("an answer")
}

/// The `Accept` field of a browser's navigation.
const BROWSER: &str =
    "accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n";

/// The page, as somebody sees it who comes to look.
fn ask(server: &Server) -> Message {
    let answer = asked(server, "GET /", BROWSER);
    assert_eq!((answer.status(), answer.field("x-maintenance-mode")), (503, Some("true")));
    assert_eq!(answer.field("retry-after"), Some("300"));
    answer
}

fn page_server(kind: &str, body: &str) -> Backend {
    let length = body.len();
    Backend::answering(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"))
}

#[test]
fn the_page_of_the_page_server_is_shown_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let pages = page_server("text/html; charset=utf-8", "<h1>Back soon</h1>");
    let (mut client, session) = in_maintenance(&server, &format!("{}/down", pages.url()));
    let shown = ask(&server);
    assert_eq!((shown.text(), shown.field("content-type")), ("<h1>Back soon</h1>", Some("text/html; charset=utf-8")));
    assert_eq!(client.pushed_line(), "MAINT_OK|ALL");
    assert_eq!(client.ask(&format!("MAINT_EXIT|{session}|ALL")), "ACK");
    assert_eq!(client.pushed_line(), "MAINT_OK|ALL");
    assert_eq!(server.get("shop.example", "/").0, 200);
}

#[test]
fn the_built_in_page_is_shown_when_there_is_no_other() {
    let (large, plain) = (page_server("text/html", &"x".repeat(70_000)), page_server("text/plain", "x"));
    for url in [String::new(), format!("http://{}", closed_port()), large.url(), plain.url()] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path());
        let _client = in_maintenance(&server, &url);
        assert!(ask(&server).text().contains("back soon"), "{url}");
    }
}

#[test]
fn a_page_is_shown_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let pages = page_server("text/html", "<h1>Back soon</h1>");
    in_maintenance(&server, &pages.url());
    server.kill();
    let server = Server::start(folder.path());
    assert_eq!(ask(&server).text(), "<h1>Back soon</h1>");
}

/// The server of the deployed progress page: a page, a status that its script polls, an image, and nothing else.
fn progress() -> Backend {
    Backend::hearing(|mut wire, tell| {
        while let Some(request) = wire.message() {
            let (status, kind, body) = match request.target() {
                "/down" | "/" => ("200 OK", "text/html", "<h1>Back soon</h1>".to_owned()),
                "/api/status" => ("200 OK", "application/json", r#"{"progress":40}"#.to_owned()),
                "/logo.png?v=2" => ("200 OK\r\ncache-control: public, max-age=86400", "image/png", "PNG".to_owned()),
                "/upload" => ("201 Created", "text/plain", request.text().to_owned()),
                _ => ("404 Not Found", "text/plain", "nothing here".to_owned()),
            };
            tell(request);
            let length = body.len();
            wire.send(format!("HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"));
        }
    })
}

fn is_marked(answer: &Message) -> bool {
    (answer.field("x-maintenance-mode"), answer.field("cache-control")) == (Some("true"), Some("no-store"))
}

/// Kind: who comes to look gets the page, and what the page asks for comes from its server.
#[test]
fn requests_that_a_page_makes_are_answered_by_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let pages = progress();
    let (mut client, session) = in_maintenance(&server, &format!("{}/down", pages.url()));
    assert_eq!(client.ask(&format!("HEADERS_SET|{session}|ALL|Access-Control-Allow-Origin|*")), "HEADERS_OK");
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    for path in ["/", "/down", "/anything/else?x=1", "/api/status"] {
        let page = asked(&server, &format!("GET {path}"), BROWSER);
        assert_eq!((page.status(), page.text()), (503, "<h1>Back soon</h1>"), "{path}");
    }
    let head = asked(&server, "HEAD /", BROWSER);
    assert_eq!((head.status(), head.field("retry-after")), (503, Some("300")));
    while !pages.heard_nothing() {}
    for (line, fields, status, body) in [
        ("GET /api/status", "accept: */*\r\n", 200, r#"{"progress":40}"#),
        ("GET /api/status", "accept: application/json\r\n", 200, r#"{"progress":40}"#),
        ("GET /api/status", "", 200, r#"{"progress":40}"#),
        ("GET /api/status", "accept: text/html;q=0, */*\r\n", 200, r#"{"progress":40}"#),
        ("GET /logo.png?v=2", "accept: image/avif,image/webp,*/*;q=0.8\r\n", 200, "PNG"),
        ("POST /upload", "accept: text/html\r\ncontent-length: 5\r\n\r\nabcde", 201, "abcde"),
        ("GET /missing.css", "accept: text/css,*/*;q=0.1\r\n", 404, "nothing here"),
    ] {
        let answer = if let Some((fields, sent)) = fields.split_once("\r\n\r\n") {
            let mut wire = Wire::connect(server.proxy);
            wire.send(format!("{line} HTTP/1.1\r\nhost: shop.example\r\n{fields}\r\n\r\n{sent}"));
            wire.message().unwrap()
        } else {
            asked(&server, line, fields)
        };
        assert_eq!((answer.status(), answer.text()), (status, body), "{line} {fields}");
        assert!(is_marked(&answer), "{line}: {answer:?}");
        assert_eq!(answer.field("access-control-allow-origin"), Some("*"), "{line}: what is set for the route");
        let heard = pages.heard();
        let told = (heard.field("host"), heard.field("x-forwarded-host"));
        assert_eq!(told, (Some(&*pages.address().to_string()), Some("shop.example")));
        assert!(heard.line.starts_with(line), "{heard:?}");
    }
    let stats = client.ask(&format!("STATS_GET|{session}|r1"));
    for counted in [r#""503":5"#, r#""200":5"#, r#""201":1"#, r#""404":1"#, r#""in_flight":0"#] {
        assert!(stats.contains(counted), "{counted}: {stats}");
    }
    client.told.clear();
    assert_eq!(client.ask(&format!("MAINT_EXIT|{session}|ALL")), "ACK");
    eventually("it is back", || asked(&server, "GET /api/status", "").text() == "b");
}

#[test]
fn a_route_is_in_maintenance_though_the_server_of_its_page_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let odd = Backend::answering("SSH-2.0-OpenSSH\r\n");
    let cut = Backend::new(|mut wire| drop(wire.message()));
    for page in [format!("http://{}/down", closed_port()), odd.url(), cut.url()] {
        let (_client, _) = in_maintenance(&server, &page);
        for line in ["GET /api/status", "DELETE /x"] {
            let away = asked(&server, line, "accept: application/json\r\n");
            assert_eq!((away.status(), away.field("retry-after")), (503, Some("300")), "{page} {line}");
            assert!(is_marked(&away), "{page} {line}");
            assert_eq!(away.field("content-type"), Some("application/problem+json"), "{page} {line}");
        }
    }
}

#[test]
fn the_server_of_a_page_may_not_be_where_backends_may_not() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let pages = progress();
    let by_name = format!("http://localhost:{}/down", pages.address().port());
    in_maintenance(&server, &by_name);
    assert_eq!(asked(&server, "GET /api/status", "").status(), 200);
    server.kill();
    // Until then it may ask for the page again.
    while !pages.heard_nothing() {}
    let denied = "127.0.0.0/8,::1/128";
    let server = Server::start_with(folder.path(), &["--backends-deny", denied]);
    let refused = asked(&server, "GET /api/status", "");
    assert_eq!((refused.status(), refused.field("x-maintenance-mode")), (503, Some("true")));
    assert!(pages.heard_nothing());
}

#[test]
fn members_that_serve_on_are_asked_and_no_page() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let pages = progress();
    let (_client, _) = in_maintenance(&server, &pages.url());
    assert_eq!(asked(&server, "GET /api/status", "").text(), r#"{"progress":40}"#);
    let other = Backend::named("other");
    let mut client = server.connect();
    let session = client.register("shop", "shop-2");
    client.serve(&session, "shop.example", "/", other.address());
    assert!((0..10).all(|_| asked(&server, "GET /api/status", "").text() == "other"));
    assert!(client.ask(&format!("DRAIN_START|{session}|1ms")).starts_with("DRAIN_OK|"));
    eventually("it is drained", || asked(&server, "GET /api/status", "").text() == r#"{"progress":40}"#);
}

#[test]
fn a_page_may_speak_over_a_web_socket_with_its_server() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (_client, _) = in_maintenance(&server, &echo().url());
    let mut wire = Wire::connect(server.proxy);
    wire.send("GET /live HTTP/1.1\r\nhost: shop.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let answer = wire.head().unwrap();
    assert_eq!((answer.status(), answer.field("upgrade")), (101, Some("websocket")));
    assert!(is_marked(&answer));
    wire.send("hello");
    assert_eq!(wire.exactly(5).as_deref(), Some(&b"hello"[..]));
}
