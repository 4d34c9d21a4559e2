//! Backends that fail: what the client is told, and which requests are retried.

use std::sync::atomic::{AtomicUsize, Ordering};

use signalbox::connect::NameLookup;
use signalbox::domain::RouteId;

use crate::support::backend::{Backend, closed_port};
use crate::support::proxy_harness::{ProxyHarness, until};
use crate::support::wire::Wire;

#[test]
fn another_member_takes_over_when_one_refuses() {
    let alive = Backend::named("alive");
    let mut harness = ProxyHarness::new();
    let dead = format!("http://{}", closed_port());
    harness.serve("shop", "shop-1", &dead, &[("load_balancing", "round_robin")]);
    harness.serve("shop", "shop-2", &alive.url(), &[]);
    for _ in 0..6 {
        let answer = harness.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
        assert_eq!((answer.status(), answer.text()), (200, "alive"));
    }
    assert_eq!(alive.heard().text(), "hi", "the body was still whole");
}

#[test]
fn without_retries_a_refusal_is_final() {
    let alive = Backend::named("alive");
    let mut harness = ProxyHarness::new();
    let options = [("load_balancing", "round_robin"), ("retries", "0")];
    harness.serve("shop", "shop-1", &format!("http://{}", closed_port()), &options);
    harness.serve("shop", "shop-2", &alive.url(), &options);
    let answers: Vec<u16> = (0..4).map(|_| harness.get("a", "/").status()).collect();
    assert!(answers.contains(&502), "{answers:?}");
    assert!(answers.contains(&200), "then the other goes first: {answers:?}");
}

#[test]
fn a_backend_that_cannot_be_reached_is_a_502_that_says_nothing_of_the_inside() {
    let port = closed_port();
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &format!("http://{port}"), &[]);
    let answer = harness.get("a", "/");
    assert_eq!(answer.status(), 502);
    assert!(!answer.text().contains("127.0.0.1") && !answer.text().contains(&port.port().to_string()));
    let numbers = harness.table().stats(key, RouteId(1));
    assert_eq!((numbers.errors, numbers.status_codes.get(&502)), (1, Some(&1)));
}

#[test]
fn a_name_that_does_not_resolve_is_a_502_for_its_route_alone() {
    let alive = Backend::named("alive");
    let mut harness = ProxyHarness::new();
    let key = harness.session("shop", "shop-1");
    harness.route(key, 1, "*", "/", &alive.url());
    harness.route(key, 2, "*", "/lost", "http://no-such-name.invalid:80");
    assert_eq!(harness.get("a", "/lost").status(), 502);
    assert_eq!(harness.get("a", "/").status(), 200);
}

#[test]
fn a_backend_is_found_by_its_name() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&format!("http://localhost:{}", backend.address().port()), &[]);
    assert_eq!(harness.get("a", "/").text(), "b", "whichever of the name's addresses it listens on");
}

#[test]
fn a_denied_network_is_never_connected_to() {
    let backend = Backend::named("b");
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "[::ffff:0.0.0.0]", "[::]", "0"] {
        let mut harness = ProxyHarness::with(|settings| {
            settings.deny = vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()];
        });
        harness.serve("shop", "shop-1", &format!("http://{host}:{}", backend.address().port()), &[]);
        assert_eq!(harness.get("a", "/").status(), 502, "{host}");
    }
    assert_eq!(backend.connections(), 0);
}

#[test]
fn the_proxy_never_connects_to_a_listener_of_its_own_process() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (at, everywhere) = (other.local_addr().unwrap(), std::net::TcpListener::bind("0.0.0.0:0").unwrap());
    let port = everywhere.local_addr().unwrap().port();
    let mut harness = ProxyHarness::with(|settings| settings.own = vec![at, everywhere.local_addr().unwrap()]);
    let own = harness.address().port();
    let urls = [
        format!("127.0.0.1:{}", at.port()),
        format!("localhost:{}", at.port()),
        format!("[::ffff:127.0.0.1]:{}", at.port()),
        format!("0:{}", at.port()),
        format!("127.7.7.7:{port}"),
        format!("0.0.0.0:{port}"),
        format!("localhost:{own}"),
        format!("127.0.0.1:{own}"),
    ];
    let interfaces = ["192.0.2.7:9", "[2001:db8::7]:9"].iter().filter_map(|to| {
        // The address that this machine would be seen with, if it has any but loopback.
        let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = std::net::UdpSocket::bind(any).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(std::net::IpAddr::is_ipv4)
    });
    let interfaces: Vec<_> = interfaces.map(|ip| format!("{ip}:{port}")).collect();
    for (number, url) in (1..).zip(urls.iter().chain(&interfaces)) {
        let key = harness.session("shop", &format!("shop-{number}"));
        harness.route(key, 1, &format!("h{number}.example"), "/", &format!("http://{url}"));
        assert_eq!(harness.get(&format!("h{number}.example"), "/").status(), 502, "{url}");
    }
    for listener in [other, everywhere] {
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "somebody connected");
    }
}

#[test]
fn slow_names_of_one_session_delay_no_other_session() {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::with(|settings| {
        settings.names = NameLookup::with(move |name| {
            if name.starts_with("slow") {
                // Until the test is over.
                let _ = gate.lock().unwrap().recv();
            }
            Ok(vec![[127, 0, 0, 1].into()])
        });
    });
    let (greedy, quiet) = (harness.session("greedy", "greedy-1"), harness.session("quiet", "quiet-1"));
    let port = backend.address().port();
    let mut waiting = Vec::new();
    for number in 1..=200 {
        harness.route(greedy, number, &format!("g{number}.example"), "/", &format!("http://slow-{number}.test:{port}"));
        let mut wire = Wire::connect(harness.address());
        wire.send(format!("GET / HTTP/1.1\r\nhost: g{number}.example\r\n\r\n"));
        waiting.push(wire);
    }
    for number in 1..=20 {
        harness.route(quiet, number, &format!("q{number}.example"), "/", &format!("http://quick-{number}.test:{port}"));
        assert_eq!(harness.get(&format!("q{number}.example"), "/").text(), "b");
    }
    drop(open);
}

#[test]
fn a_backend_that_does_not_answer_in_time_is_a_504() {
    let backend = Backend::new(|mut wire| {
        wire.head();
        wire.has_ended();
    });
    let harness = ProxyHarness::serving(&backend.url(), &[("timeout", "50ms")]);
    assert_eq!(harness.get("a", "/").status(), 504);
}

#[test]
fn a_client_that_stops_within_its_body_is_told_so() {
    let backend = Backend::new(|mut wire| {
        wire.message();
    });
    let harness = ProxyHarness::serving(&backend.url(), &[("timeout", "50ms")]);
    let answer = harness.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    assert_eq!(answer.status(), 408);
}

#[test]
fn an_upload_may_take_longer_than_the_timeout_while_it_moves() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    let harness = ProxyHarness::serving(&backend.url(), &[("timeout", "1s")]);
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 12\r\n\r\n");
    for _ in 0..12 {
        std::thread::sleep(std::time::Duration::from_millis(100));
        wire.send("x");
    }
    assert_eq!(wire.message().unwrap().status(), 200);
}

#[test]
fn answers_that_are_no_http_are_a_502() {
    for answer in
        ["hello\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", "HTTP/1.1 101 X\r\nupgrade: y\r\n\r\n", ""]
    {
        let backend = Backend::new(move |mut wire| {
            wire.head();
            wire.send(answer);
        });
        assert_eq!(ProxyHarness::serving(&backend.url(), &[]).get("a", "/").status(), 502, "{answer:?}");
    }
}

/// Serves one request on each connection and closes it when the second has come.
fn tired() -> Backend {
    Backend::new(|mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        wire.head();
    })
}

#[test]
fn a_request_that_a_tired_connection_did_not_answer_is_sent_again() {
    let backend = tired();
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &backend.url(), &[]);
    for _ in 0..4 {
        assert_eq!(harness.get("a", "/").status(), 200);
    }
    assert_eq!(backend.connections(), 4);
    let numbers = || harness.table().stats(key, RouteId(1));
    until("all are counted", || numbers().status_codes.get(&200) == Some(&4));
    assert_eq!((numbers().requests, numbers().errors), (4, 0), "as often as clients were answered");
}

#[test]
fn a_request_that_may_have_done_its_work_is_not_sent_again() {
    let backend = tired();
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(harness.ask(post).status(), 200);
    assert_eq!(harness.ask(post).status(), 502);
}

#[test]
fn a_fresh_connection_that_breaks_is_not_tried_again() {
    let seen = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&seen);
    let backend = Backend::new(move |mut wire| {
        wire.head();
        counted.fetch_add(1, Ordering::SeqCst);
    });
    assert_eq!(ProxyHarness::serving(&backend.url(), &[]).get("a", "/").status(), 502);
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[test]
fn a_connection_the_backend_closed_while_idle_is_not_used() {
    let backend = Backend::new(|mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let harness = ProxyHarness::serving(&backend.url(), &[("retries", "0")]);
    let post = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n";
    // The proxy may see the close late, but it must see it.
    until("the closed connection is noticed", || {
        harness.ask(post).status() == 200 && harness.ask(post).status() == 200
    });
}

#[test]
fn connections_are_used_again_only_behind_whole_responses() {
    let backend = Backend::new(|mut wire| {
        while wire.message().is_some() {
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n");
            wire.send(vec![b'x'; 100_000]);
        }
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    for _ in 0..3 {
        assert_eq!(harness.get("a", "/").body.len(), 100_000);
    }
    assert_eq!(backend.connections(), 1);
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wire.exactly(200);
    drop(wire);
    assert_eq!(harness.get("a", "/").body.len(), 100_000);
}

#[test]
fn too_many_connections_are_turned_away() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::with(|settings| settings.connections_max = 2);
    harness.serve("shop", "shop-1", &backend.url(), &[]);
    let open = [harness.connect(), harness.connect()];
    until("the third is turned away", || harness.get("a", "/").status() == 503);
    drop(open);
    until("there is room again", || harness.get("a", "/").status() == 200);
}

#[test]
fn requests_under_way_finish_when_the_proxy_stops() {
    let backend = Backend::hearing(|mut wire, tell| {
        tell(wire.message().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(100));
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    });
    let mut harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut idle = harness.connect();
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    backend.heard();
    harness.stop(std::time::Duration::from_secs(10));
    assert_eq!(wire.message().unwrap().text(), "ok");
    assert!(wire.has_ended() && idle.has_ended());
}

#[test]
fn connections_that_outlast_the_grace_are_closed() {
    let backend = Backend::hearing(|mut wire, tell| {
        tell(wire.message().unwrap());
        wire.has_ended();
    });
    let mut harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    backend.heard();
    harness.stop(std::time::Duration::from_millis(10));
    assert!(wire.message().is_none());
}

#[test]
fn a_restarted_backend_costs_no_request_however_many_connections_it_left_behind() {
    use std::sync::atomic::AtomicBool;
    let together = std::sync::Arc::new(std::sync::Barrier::new(4));
    let restarted = std::sync::Arc::new(AtomicBool::new(false));
    let (barrier, is_restarted) = (std::sync::Arc::clone(&together), std::sync::Arc::clone(&restarted));
    let backend = Backend::new(move |mut wire| {
        if !is_restarted.load(Ordering::SeqCst) {
            wire.message();
            barrier.wait();
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            wire.head();
            return;
        }
        while wire.message().is_some() {
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nnew");
        }
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wires: Vec<_> = (0..4).map(|_| harness.connect()).collect();
    for wire in &mut wires {
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    for wire in &mut wires {
        assert_eq!(wire.message().unwrap().text(), "ok");
    }
    assert_eq!(backend.connections(), 4);
    restarted.store(true, Ordering::SeqCst);
    for _ in 0..8 {
        assert_eq!(harness.get("a", "/").text(), "new");
    }
}

#[test]
fn a_port_that_somebody_has_is_not_shared() {
    let harness = ProxyHarness::new();
    let settings = signalbox::proxy::ProxySettings::new(harness.address());
    let taken = signalbox::proxy::Proxy::bind(&settings).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn a_request_is_sent_again_with_its_own_fields_whatever_body_came_before_it() {
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(may_go);
    // Serves one request on each connection and closes it when the second has come.
    let backend = Backend::hearing(move |mut wire, tell| {
        let Some(request) = wire.head() else { return };
        let refuses = request.line.starts_with("POST");
        tell(request);
        if refuses {
            may_go.lock().unwrap().recv().unwrap();
            wire.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno");
            return;
        }
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        wire.head();
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    let body = "GET /next HTTP/1.1\r\nhost: a\r\nx-user: mallory\r\n\r\n";
    let length = body.len();
    wire.send(format!("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"));
    assert_eq!(backend.heard().target(), "/");
    assert_eq!(harness.get("a", "/tires").status(), 200);
    assert_eq!(backend.heard().target(), "/tires");
    wire.send(body);
    go.send(()).unwrap();
    assert_eq!(wire.message().unwrap().status(), 401);
    wire.send("GET /next HTTP/1.1\r\nhost: a\r\nx-user: alice\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 200);
    let heard = backend.heard();
    assert_eq!((heard.target(), heard.field("x-user")), ("/next", Some("alice")));
}

#[test]
fn a_request_that_was_answered_in_part_is_not_sent_again() {
    let backend = Backend::hearing(|mut wire, tell| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        tell(wire.head().unwrap());
        wire.send("HTTP/1.1 2");
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    assert_eq!(harness.get("a", "/").status(), 200);
    // Its body is held back, so that nothing of it was sent when the connection ends.
    let answer = harness.ask("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
    assert_eq!(answer.status(), 502);
    backend.heard();
    assert_eq!(backend.connections(), 1);
}
