//! Maintenance pages, as the clients of a route in maintenance see them.

use crate::server::{Client, Server};
use crate::support::backend::{Backend, closed_port};
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

fn ask(server: &Server) -> Message {
    let mut wire = Wire::connect(server.proxy);
    wire.send("GET / HTTP/1.1\r\nhost: shop.example\r\naccept: application/json\r\n\r\n");
    let answer = wire.message().expect("an answer");
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
    assert_eq!(client.hear(), "MAINT_OK|ALL");
    assert_eq!(client.ask(&format!("MAINT_EXIT|{session}|ALL")), "ACK");
    assert_eq!(client.hear(), "MAINT_OK|ALL");
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
