//! Peers that stop sending or reading: each wait has an end.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use signalbox::domain::{RouteId, Target};

use crate::support::backend::Backend;
use crate::support::proxy_harness::{ProxyHarness, option, until};

const SOON: Duration = Duration::from_millis(100);

#[test]
fn a_head_that_trickles_in_is_cut_however_steadily_it_trickles() {
    let harness = ProxyHarness::with(|settings| settings.header_timeout = SOON);
    let mut wire = harness.connect();
    until("the connection is cut", || {
        thread::sleep(Duration::from_millis(20));
        !wire.send("G")
    });
    assert!(wire.has_ended());
}

#[test]
fn a_connection_on_which_nothing_comes_is_cut() {
    let harness = ProxyHarness::with(|settings| settings.header_timeout = SOON);
    assert!(harness.connect().has_ended());
}

#[test]
fn a_connection_between_requests_is_cut_after_a_while() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::with(|settings| settings.keep_alive = SOON);
    harness.serve("shop", "shop-1", &backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(wire.message().unwrap().text(), "b");
    assert!(wire.has_ended());
}

#[test]
fn a_response_that_stands_still_is_broken_off_on_both_sides() {
    let backend = Backend::hearing(|mut wire, tell| {
        let head = wire.head().unwrap();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
        assert!(wire.has_ended());
        tell(head);
    });
    let harness = ProxyHarness::serving(&backend.url(), &[("stream_idle_timeout", "100ms")]);
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert!(wire.message().is_none());
    backend.heard();
}

#[test]
fn a_client_that_does_not_read_is_cut() {
    let backend = Backend::hearing(|mut wire, tell| {
        let head = wire.head().unwrap();
        wire.send("HTTP/1.1 200 OK\r\n\r\n");
        while wire.send([b'x'; 8192]) {}
        tell(head);
    });
    let mut harness = ProxyHarness::with(|settings| settings.body_idle = SOON);
    harness.serve("shop", "shop-1", &backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    backend.heard();
}

#[test]
fn a_slow_backend_is_no_idle_client() {
    let backend = Backend::new(|mut wire| {
        wire.message();
        thread::sleep(Duration::from_millis(2500));
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate");
    });
    let mut harness = ProxyHarness::with(|settings| {
        (settings.header_timeout, settings.keep_alive, settings.body_idle) = (SOON, SOON, SOON);
    });
    harness.serve("shop", "shop-1", &backend.url(), &[]);
    assert_eq!(harness.get("a", "/").text(), "late");
}

#[test]
fn a_tunnel_that_stands_still_is_cut() {
    let backend = Backend::hearing(|mut wire, tell| {
        let head = wire.head().unwrap();
        wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
        assert!(wire.has_ended());
        tell(head);
    });
    let harness = ProxyHarness::serving(&backend.url(), &[("stream_idle_timeout", "100ms")]);
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
    assert_eq!(wire.head().unwrap().status(), 101);
    assert!(wire.has_ended());
    backend.heard();
}

#[test]
fn a_silent_stream_goes_on_for_as_long_as_its_route_says() {
    // Silent for much longer than clients may be that take nothing, and than another route's streams may be.
    let silence = Duration::from_millis(2500);
    let event = "data: x\n\n";
    let stream = move |head: &'static str| {
        Backend::new(move |mut wire| {
            wire.message();
            wire.send(head);
            thread::sleep(silence);
            wire.send(event);
        })
    };
    for head in [
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
    ] {
        let backend = stream(head);
        let mut harness = ProxyHarness::with(|settings| settings.body_idle = SOON);
        let key = harness.session("shop", "shop-1");
        for (id, path, limit) in [(1, "/default", None), (2, "/never", Some("0")), (3, "/soon", Some("100ms"))] {
            harness.route(key, id, "*", path, &backend.url());
            let limit = limit.map(|limit| option(Target::Route(RouteId(id)), "stream_idle_timeout", limit));
            harness.apply(key, limit.into_iter().collect());
        }
        let paths = ["/default", "/never", "/soon"];
        let mut wires = paths.map(|path| {
            let mut wire = harness.connect();
            wire.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"));
            assert!([101, 200].contains(&wire.head().unwrap().status()), "{head}");
            wire
        });
        assert!(wires[2].has_ended(), "{head}");
        for wire in &mut wires[..2] {
            let came = wire.exactly(event.len()).expect(head);
            assert!(!came.is_empty());
        }
    }
}

#[test]
fn an_idle_upstream_connection_is_closed_after_a_while() {
    let backend = Backend::hearing(|mut wire, tell| {
        let request = wire.message().unwrap();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        assert!(wire.has_ended());
        tell(request);
    });
    let harness = ProxyHarness::serving(&backend.url(), &[("idle_timeout", "100ms")]);
    assert_eq!(harness.get("a", "/").status(), 200);
    backend.heard();
}

#[test]
fn interim_responses_without_end_are_not_read_without_end() {
    const BLOCK: usize = 1 << 20;
    let flood = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(BLOCK / 40);
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let backend = Backend::new(move |mut wire| {
        wire.head();
        while counted.load(Ordering::SeqCst) < 1000 && wire.send(&flood) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    assert_eq!(ProxyHarness::serving(&backend.url(), &[]).get("a", "/").status(), 502);
    assert!(sent.load(Ordering::SeqCst) <= 24, "more MiB were read than sockets hold");
}

#[test]
fn a_connection_that_still_sends_its_last_request_holds_up_no_other() {
    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let backend = Backend::new(|mut wire| {
        if wire.head().is_some_and(|head| head.line.starts_with("POST")) {
            // Until as much as fits is on its way.
            thread::sleep(Duration::from_millis(50));
            wire.send(OK);
            loop {
                thread::park();
            }
        }
        wire.send(OK);
    });
    let harness = ProxyHarness::serving(&backend.url(), &[("timeout", "1s"), ("retries", "0")]);
    // The system decides how many bytes fit. A little more waits in the proxy, after the response has arrived.
    let (mut fits, mut exceeds) = (100_000, 16_000_000);
    while exceeds - fits > 64_000 {
        let length = usize::midpoint(fits, exceeds);
        let mut wire = harness.connect();
        wire.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n"));
        wire.send(vec![b'x'; length]);
        assert_eq!(wire.message().unwrap().status(), 200);
        match harness.get("a", "/").status() {
            504 => fits = length,
            status => {
                assert_eq!(status, 200);
                exceeds = length;
            }
        }
    }
}
