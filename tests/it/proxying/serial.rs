//! Backends that serve one connection at a time, and the time that connections are kept.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use signalbox::domain::{RouteId, Target};

use crate::server::{Server, eventually};
use crate::support::backend::Backend;
use crate::support::proxy_harness::{ProxyHarness, option, until};
use crate::support::wire::Wire;

/// Serves a connection until it is closed, as `http.server` of Python and development servers do, and takes the next one then.
struct Single {
    address: SocketAddr,
    checks: Arc<AtomicUsize>,
}

impl Single {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, checks) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&checks);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                // Longer than any test: only the other side ends a connection.
                let mut wire = Wire::over(socket);
                wire.socket().set_read_timeout(None).unwrap();
                while let Some(request) = wire.message() {
                    let is_check = request.field("user-agent") == Some("signalbox");
                    counted.fetch_add(usize::from(is_check), Ordering::SeqCst);
                    let target = request.target();
                    wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{target}", target.len()));
                }
            }
        });
        Self { address, checks }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

fn asking(harness: &ProxyHarness, target: &str) -> Wire {
    let mut wire = harness.connect();
    wire.send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n\r\n"));
    wire
}

#[test]
fn many_clients_at_once_are_all_served_by_a_backend_that_takes_one_connection_at_a_time() {
    for workers in [1, 3] {
        let backend = Single::new();
        let mut harness = ProxyHarness::with(|settings| settings.workers = workers);
        harness.serve("shop", "shop-1", &backend.url(), &[]);
        for round in 0..3 {
            let targets: Vec<String> = (0..8).map(|number| format!("/{round}/{number}")).collect();
            let mut wires: Vec<Wire> = targets.iter().map(|target| asking(&harness, target)).collect();
            for (wire, target) in wires.iter_mut().zip(&targets) {
                assert_eq!(wire.message().unwrap().text(), target, "{workers} workers");
            }
        }
    }
}

#[test]
fn requests_of_all_methods_and_routes_are_served_side_by_side() {
    let backend = Single::new();
    let mut harness = ProxyHarness::new();
    let key = harness.session("shop", "shop-1");
    for (id, path) in [(1, "/one"), (2, "/two")] {
        harness.route(key, id, "*", path, &backend.url());
    }
    let mut wires = [asking(&harness, "/one"), asking(&harness, "/two"), harness.connect()];
    wires[2].send("POST /two/post HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
    for (wire, target) in wires.iter_mut().zip(["/one", "/two", "/two/post"]) {
        assert_eq!(wire.message().unwrap().text(), target);
    }
}

#[test]
fn a_kept_connection_does_not_starve_health_checks() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let backend = Single::new();
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    for (key, value) in [("health_check_interval", "1s"), ("health_check_timeout", "1s")] {
        assert_eq!(client.ask(&format!("OPTIONS_SET|{session}|ALL|{key}|{value}")), "OPTIONS_OK");
    }
    client.serve(&session, "shop.example", "/", backend.address);
    eventually("it serves", || server.get("shop.example", "/").0 == 200);
    let before = backend.checks.load(Ordering::SeqCst);
    eventually("checks go on", || {
        // Each leaves a connection behind that is kept for the next.
        assert_eq!(server.get("shop.example", "/").0, 200);
        backend.checks.load(Ordering::SeqCst) >= before + 3
    });
    let status = client.ask(&format!("CIRCUIT_BREAKER_STATUS|{session}|r1"));
    assert!(status.contains("\"last_failed_check\":null"), "{status}");
}

#[test]
fn a_slow_backend_that_serves_many_at_once_keeps_its_connections() {
    // Slower than a new connection may be without others making way for it.
    let backend = Backend::new(|mut wire| {
        while wire.message().is_some() {
            thread::sleep(std::time::Duration::from_millis(700));
            wire.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut connections = Vec::new();
    for _ in 0..4 {
        let mut wires: Vec<Wire> = (0..6).map(|_| asking(&harness, "/")).collect();
        wires.iter_mut().for_each(|wire| assert_eq!(wire.message().unwrap().text(), "ok"));
        connections.push(backend.connections());
    }
    assert_eq!(connections[1..], [connections[1]; 3], "once it is known");
}

/// Answers with `fields` and counts the requests of each connection.
fn keeping(fields: &'static str) -> Backend {
    Backend::answering(format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok"))
}

#[test]
fn a_connection_is_left_before_its_backend_ends_it() {
    for (fields, connections) in [
        ("", 1),
        ("Keep-Alive: timeout=60, max=100\r\n", 1),
        ("Keep-Alive: timeout=1\r\n", 4),
        ("keep-alive: max=7, Timeout=0\r\n", 4),
        ("Connection: close\r\n", 4),
    ] {
        let backend = keeping(fields);
        let harness = ProxyHarness::serving(&backend.url(), &[]);
        for _ in 0..4 {
            let answer = harness.get("a", "/");
            assert_eq!((answer.text(), answer.field("keep-alive")), ("ok", None));
        }
        assert_eq!(backend.connections(), connections, "{fields:?}");
    }
}

#[test]
fn a_backend_that_ends_connections_after_the_time_it_names_loses_no_request() {
    // It says two seconds and means it.
    let backend = Backend::new(|mut wire| {
        wire.socket().set_read_timeout(Some(std::time::Duration::from_secs(2))).unwrap();
        while wire.message().is_some() {
            wire.send("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=2\r\nContent-Length: 2\r\n\r\nok");
        }
    });
    let harness = ProxyHarness::serving(&backend.url(), &[("retries", "0")]);
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi";
    for pause in [0, 900, 1100, 1990, 2000] {
        thread::sleep(std::time::Duration::from_millis(pause));
        assert_eq!(harness.ask(post).status(), 200, "{pause} ms later");
    }
}

#[test]
fn keep_alive_false_asks_the_backend_to_close() {
    let backend = keeping("");
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &backend.url(), &[("keep_alive", "false")]);
    for (fields, connection) in [("", "close"), ("te: trailers\r\nconnection: te\r\n", "te, close")] {
        harness.ask(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n"));
        assert_eq!(backend.heard().field("connection"), Some(connection));
    }
    assert_eq!(backend.connections(), 2);
    harness.route(key, 2, "*", "/kept", &backend.url());
    harness.apply(key, vec![option(Target::Route(RouteId(2)), "keep_alive", "true")]);
    for _ in 0..3 {
        harness.get("a", "/kept");
        assert_eq!(backend.heard().field("connection"), None);
    }
    assert_eq!(backend.connections(), 3);
    // Also while another route's is idle.
    harness.get("a", "/");
    assert_eq!((backend.heard().field("connection"), backend.connections()), (Some("close"), 4));
}

/// Answers the first request of each connection and ends it within the second, after it has read all of that.
fn tired() -> Backend {
    Backend::hearing(|mut wire, tell| {
        tell(wire.message().unwrap());
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        wire.message();
    })
}

#[test]
fn a_body_that_was_begun_is_sent_again_where_that_can_do_no_harm() {
    let long = "x".repeat(70_000);
    let chunked = |body: &str| format!("transfer-encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let counted = |body: &str| format!("content-length: {}\r\n\r\n{body}", body.len());
    for (method, rest, body, status) in [
        ("PUT", counted("hello"), "hello", 200),
        ("DELETE", counted("hello"), "hello", 200),
        ("PUT", chunked("hello"), "hello", 200),
        ("PUT", counted(&long[..60_000]), &long[..60_000], 200),
        ("PUT", counted(&long), "", 502),
        ("POST", counted("hello"), "", 502),
        ("PATCH", chunked("hello"), "", 502),
    ] {
        let backend = tired();
        let harness = ProxyHarness::serving(&backend.url(), &[]);
        assert_eq!(harness.get("a", "/").status(), 200);
        backend.heard();
        let answer = harness.ask(format!("{method} / HTTP/1.1\r\nhost: a\r\n{rest}"));
        assert_eq!(answer.status(), status, "{method} {}", rest.len());
        if status == 200 {
            let heard = backend.heard();
            assert_eq!((heard.text(), heard.line.starts_with(method)), (body, true));
        }
    }
}

#[test]
fn kept_bytes_of_bodies_are_counted_and_returned() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let memory = signalbox::memory_budget::MemoryBudget::new(1 << 20);
    let counted = memory.clone();
    let mut harness = ProxyHarness::with(move |settings| settings.memory = counted);
    harness.serve("shop", "shop-1", &backend.url(), &[]);
    for _ in 0..3 {
        assert_eq!(harness.ask("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello").text(), "ok");
    }
    until("all of it is given back", || memory.bytes() == 0);
}
