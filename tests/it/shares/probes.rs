//! Backend tests and page fetches of one session are answered, however many another session runs.

use std::io::Write;
use std::net::SocketAddr;
use std::thread;

use crate::server::{Client, Server, eventually};
use crate::support::backend::Backend;
use crate::support::wire::Wire;

/// Takes every connection and says nothing.
fn silent() -> Backend {
    Backend::new(|mut wire| {
        wire.head();
        wire.has_ended();
    })
}

/// Asks for so many backend tests at once, each on a connection of its own; what became of each.
fn tests_at_once(server: &Server, session: &str, backend: SocketAddr, count: usize) -> Vec<thread::JoinHandle<String>> {
    let test = |_| {
        let (mut client, line) = (server.connect(), format!("BACKEND_TEST|{session}|http://{backend}"));
        thread::spawn(move || client.ask(&line))
    };
    (0..count).map(test).collect()
}

/// Returns the answer of REST, head and body.
fn rest_test(server: &Server, session: &str, backend: SocketAddr) -> String {
    let body = format!(r#"{{"backend_url":"http://{backend}"}}"#);
    let mut socket = std::net::TcpStream::connect(server.api).unwrap();
    let head = format!(
        "POST /v1/session/backend-tests HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {session}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    std::io::read_to_string(socket).unwrap()
}

#[test]
fn too_many_backend_tests_of_one_session_are_refused_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (silent, well) = (silent(), Backend::named("well"));
    let (mut one, mut other) = (server.connect(), server.connect());
    let (greedy, quiet) = (one.register("greedy", "greedy-1"), other.register("quiet", "quiet-1"));
    let tests = tests_at_once(&server, &greedy, silent.address(), 60);
    eventually("as many as may are under way", || silent.connections() >= 32);
    let refused = "not tried: 32 probes of this session are under way (limit 32); try again when some have ended";
    assert_eq!(one.ask(&format!("BACKEND_TEST|{greedy}|http://{}", well.address())), format!("ERROR|{refused}"));
    let answer = rest_test(&server, &greedy, well.address());
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains(refused), "{answer}");
    let reached = other.ask(&format!("BACKEND_TEST|{quiet}|http://{}", well.address()));
    assert!(reached.contains(r#""reachable":true"#), "{reached}");
    let answer = rest_test(&server, &quiet, well.address());
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""reachable":true"#), "{answer}");
    let replies: Vec<String> = tests.into_iter().map(|test| test.join().unwrap()).collect();
    assert_eq!(replies.iter().filter(|reply| reply.starts_with("ERROR|not tried")).count(), 60 - 32);
    let reached = one.ask(&format!("BACKEND_TEST|{greedy}|http://{}", well.address()));
    assert!(reached.contains(r#""reachable":true"#), "what has ended makes room: {reached}");
}

#[test]
fn maintenance_that_waits_for_many_dead_backends_delays_no_outcome_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (silent, well) = (silent(), Backend::named("well"));
    let mut greedy = server.connect();
    let session = greedy.register("greedy", "greedy-1");
    for n in 1..=600 {
        let line = format!("ROUTE_ADD|{session}|h{n}.example|/|http://{}/{n}|0", silent.address());
        assert_eq!(greedy.ask(&line), format!("ROUTE_OK|r{n}"));
    }
    assert_eq!(greedy.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    assert_eq!(greedy.ask(&format!("MAINT_ENTER|{session}|ALL|")), "ACK");
    assert_eq!(greedy.pushed_line(), "MAINT_OK|ALL");
    for tens in 0..60 {
        let routes: Vec<String> = (1..=10).map(|n| format!("r{}", tens * 10 + n)).collect();
        assert_eq!(greedy.ask(&format!("MAINT_EXIT|{session}|{}", routes.join(","))), "ACK");
    }
    let mut quiet = server.connect();
    let session = quiet.register("quiet", "quiet-1");
    quiet.serve(&session, "quiet.example", "/", well.address());
    for line in [format!("MAINT_ENTER|{session}|r1|{}", well.url()), format!("MAINT_EXIT|{session}|r1")] {
        assert_eq!(quiet.ask(&line), "ACK");
        assert_eq!(quiet.pushed_line(), "MAINT_OK|r1");
    }
}

/// More than there is room for.
const PAGES: usize = 300;

fn down(client: &mut Client, session: &str, route: usize, page: &str) {
    assert_eq!(client.ask(&format!("MAINT_ENTER|{session}|r{route}|{page}")), "ACK");
    assert_eq!(client.pushed_line(), format!("MAINT_OK|r{route}"));
}

#[test]
fn pages_of_one_session_take_no_place_from_the_page_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let page = Backend::answering(
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 10\r\nconnection: close\r\n\r\n<p>own</p>",
    );
    let (mut greedy, mut quiet) = (server.connect(), server.connect());
    let session = greedy.register("greedy", "greedy-1");
    for n in 1..=PAGES {
        greedy.ask(&format!("ROUTE_ADD|{session}|h{n}.example|/|http://127.0.0.1:1|0"));
    }
    assert_eq!(greedy.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    for n in 1..=PAGES {
        down(&mut greedy, &session, n, &format!("{}/{n}", page.url()));
    }
    let asking: Vec<_> = (1..=PAGES)
        .map(|n| {
            let mut socket = std::net::TcpStream::connect(server.proxy).unwrap();
            socket
                .write_all(format!("GET / HTTP/1.1\r\nhost: h{n}.example\r\naccept: text/html\r\n\r\n").as_bytes())
                .unwrap();
            socket
        })
        .collect();
    let session = quiet.register("quiet", "quiet-1");
    quiet.serve(&session, "quiet.example", "/", "127.0.0.1:1".parse().unwrap());
    down(&mut quiet, &session, 1, &page.url());
    let mut looking = Wire::connect(server.proxy);
    looking.send("GET / HTTP/1.1\r\nhost: quiet.example\r\naccept: text/html\r\n\r\n");
    let shown = looking.message().unwrap();
    assert_eq!((shown.status(), shown.text()), (503, "<p>own</p>"));
    drop(asking);
}
