//! Bodies in both directions: streamed, bounded, and complete or visibly broken.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::backend::Backend;
use crate::support::proxy_harness::{ProxyHarness, until};
use crate::support::wire::Wire;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A backend that reads a head, then does as told.
fn after_head(serve: impl Fn(&mut Wire) + Send + Sync + 'static) -> Backend {
    Backend::new(move |mut wire| {
        while wire.head().is_some() {
            serve(&mut wire);
        }
    })
}

#[test]
fn a_sized_body_arrives_with_its_length() {
    let backend = Backend::answering(OK);
    let answer =
        ProxyHarness::serving(&backend.url(), &[]).ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
    let heard = backend.heard();
    assert_eq!((heard.field("content-length"), heard.text()), (Some("5"), "hello"));
    assert_eq!((answer.field("content-length"), answer.text()), (Some("2"), "ok"));
}

#[test]
fn a_chunked_body_arrives_chunked_also_with_get() {
    let backend = Backend::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    for method in ["POST", "GET"] {
        let answer = ProxyHarness::serving(&backend.url(), &[]).ask(format!(
            "{method} / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n"
        ));
        let heard = backend.heard();
        assert_eq!((heard.field("transfer-encoding"), heard.field("content-length")), (Some("chunked"), None));
        assert_eq!(heard.text(), "hello");
        assert_eq!((answer.field("transfer-encoding"), answer.text()), (Some("chunked"), "ok"));
    }
}

#[test]
fn trailers_pass_both_ways() {
    let backend = Backend::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nx-sum: theirs\r\n\r\n",
    );
    let answer = ProxyHarness::serving(&backend.url(), &[]).ask(
        "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\ntrailer: x-sum\r\n\
         transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: mine\r\n\r\n",
    );
    let heard = backend.heard();
    assert_eq!(heard.field("te"), Some("trailers"));
    assert_eq!(heard.trailers, [("x-sum".to_owned(), "mine".to_owned())]);
    assert_eq!(answer.trailers, [("x-sum".to_owned(), "theirs".to_owned())]);
}

#[test]
fn answers_without_a_body_keep_what_they_say_of_it() {
    for (method, response, status, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", 200, Some("1000")),
        // hyper leaves the length out of a 304, as RFC 9110 §8.6 lets it.
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 1000\r\netag: x\r\n\r\n", 304, None),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204, None),
    ] {
        let backend = Backend::answering(response);
        let harness = ProxyHarness::serving(&backend.url(), &[]);
        let mut wire = harness.connect();
        for _ in 0..2 {
            wire.send(format!("{method} / HTTP/1.1\r\nhost: a\r\n\r\n"));
            let answer = wire.head().unwrap();
            assert_eq!((answer.status(), answer.field("content-length")), (status, length), "{response}");
        }
        assert_eq!(backend.connections(), 1, "the connection can be used again");
    }
}

#[test]
fn a_body_that_ends_with_its_connection_is_passed_on_whole() {
    let backend = Backend::new(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    });
    assert_eq!(ProxyHarness::serving(&backend.url(), &[]).get("a", "/").text(), "until the end");
}

#[test]
fn a_backend_that_dies_within_a_body_is_seen_by_the_client() {
    for response in [
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let backend = Backend::new(move |mut wire| {
            wire.head();
            wire.send(response);
        });
        let harness = ProxyHarness::serving(&backend.url(), &[]);
        let mut wire = harness.connect();
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        assert!(wire.message().is_none(), "no clean end: {response}");
    }
}

#[test]
fn a_client_that_goes_takes_its_request_along() {
    for resets in [true, false] {
        let gone = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&gone);
        let backend = Backend::hearing(move |mut wire, tell| {
            tell(wire.head().unwrap());
            if wire.has_ended() {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut harness = ProxyHarness::new();
        let key = harness.serve("shop", "shop-1", &backend.url(), &[]);
        let mut wire = harness.connect();
        wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        backend.heard();
        if resets {
            wire.reset();
        } else {
            // One that ends its side right behind its request may wait for the answer.
            std::thread::sleep(std::time::Duration::from_millis(500));
            drop(wire);
        }
        until("the backend sees the end", || gone.load(Ordering::SeqCst) == 1);
        until("nothing is in flight", || harness.table().in_flight(key) == 0);
    }
}

#[test]
fn a_client_that_goes_within_a_download_takes_it_along() {
    let backend = Backend::hearing(|mut wire, tell| {
        let head = wire.head().unwrap();
        wire.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while wire.send("4\r\nmore\r\n") {}
        tell(head);
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wire.head();
    drop(wire);
    backend.heard();
}

#[test]
fn a_client_that_goes_within_an_upload_leaves_no_whole_request() {
    let backend = Backend::hearing(|mut wire, tell| {
        let mut head = wire.head().unwrap();
        head.body = wire.exactly(10).map_or(b"broken".to_vec(), |_| b"whole".to_vec());
        tell(head);
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    drop(wire);
    assert_eq!(backend.heard().text(), "broken");
}

#[test]
fn an_answer_may_come_before_the_request_has_ended() {
    let backend = after_head(|wire| {
        wire.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno");
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nbegin");
    let answer = wire.message().unwrap();
    assert_eq!((answer.status(), answer.text()), (401, "no"));
}

#[test]
fn a_body_that_is_declared_too_large_never_reaches_the_backend() {
    let backend = Backend::answering(OK);
    let harness = ProxyHarness::serving(&backend.url(), &[("max_body_size", "10")]);
    let answer = harness.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nhello world");
    assert_eq!(answer.status(), 413);
    assert_eq!(backend.connections(), 0);
    assert_eq!(harness.ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhello worl").status(), 200);
}

#[test]
fn a_body_that_grows_too_large_is_broken_off() {
    let backend = Backend::hearing(|mut wire, tell| {
        let mut head = wire.head().unwrap();
        while let Some(chunk) = wire.chunk() {
            head.body.extend(chunk);
        }
        tell(head);
    });
    let harness = ProxyHarness::serving(&backend.url(), &[("max_body_size", "10")]);
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n");
    wire.send("6\r\n world\r\n0\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 413);
    assert!(backend.heard().body.len() <= 10);
}

#[test]
fn the_answer_to_a_body_that_is_refused_is_not_lost_while_the_client_still_sends() {
    let harness = ProxyHarness::serving("http://127.0.0.1:1", &[("max_body_size", "1M")]);
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8000000\r\n\r\n");
    for _ in 0..8 {
        wire.send(vec![b'x'; 1_000_000]);
    }
    assert_eq!(wire.message().map(|answer| answer.status()), Some(413));
}

#[test]
fn a_body_is_asked_for_once_the_backend_wants_it() {
    let backend = Backend::hearing(|mut wire, tell| {
        let mut head = wire.head().unwrap();
        wire.send("HTTP/1.1 100 Continue\r\n\r\n");
        head.body = wire.exactly(5).unwrap();
        tell(head);
        wire.send(OK);
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 100);
    wire.send("hello");
    assert_eq!(wire.message().unwrap().status(), 200);
    let heard = backend.heard();
    assert_eq!((heard.text(), heard.field("expect")), ("hello", Some("100-continue")));
}

#[test]
fn a_body_that_the_backend_does_not_want_is_not_asked_for() {
    let backend = after_head(|wire| {
        wire.send("HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n");
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 417);
}

/// The most MiB that the two connections of a request hold: the kernel lets the buffers of their four sockets grow to
/// these limits.
fn mebibytes_in_sockets() -> u64 {
    let most = |name: &str| {
        let limits = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
        limits.split_whitespace().last().unwrap().parse::<u64>().unwrap()
    };
    2 * (most("tcp_rmem") + most("tcp_wmem")) / (1 << 20) + 2
}

#[test]
fn a_download_of_any_size_passes_at_the_readers_pace() {
    const CHUNK: usize = 1 << 20;
    const CHUNKS: u64 = 256;
    let sent = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&sent);
    let backend = Backend::new(move |mut wire| {
        wire.head();
        wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", CHUNK as u64 * CHUNKS));
        let chunk = vec![b'x'; CHUNK];
        while counted.load(Ordering::SeqCst) < CHUNKS && wire.send(&chunk) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    wire.head().unwrap();
    let sockets_hold = mebibytes_in_sockets();
    for read in 0..CHUNKS {
        wire.exactly(CHUNK).unwrap();
        let ahead = sent.load(Ordering::SeqCst).saturating_sub(read + 1);
        assert!(ahead <= sockets_hold, "{ahead} MiB are between backend and client: more than their sockets hold");
    }
}

#[test]
fn an_upload_of_any_size_passes_at_the_backends_pace() {
    const CHUNK: usize = 1 << 20;
    const CHUNKS: u64 = 256;
    let read = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&read);
    let backend = Backend::new(move |mut wire| {
        wire.head();
        while counted.load(Ordering::SeqCst) < CHUNKS && wire.exactly(CHUNK).is_some() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        wire.send(OK);
    });
    let harness = ProxyHarness::serving(&backend.url(), &[("max_body_size", "1G")]);
    let mut wire = harness.connect();
    wire.send(format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", CHUNK as u64 * CHUNKS));
    let chunk = vec![b'x'; CHUNK];
    let sockets_hold = mebibytes_in_sockets();
    for sent in 0..CHUNKS {
        assert!(wire.send(&chunk));
        let ahead = (sent + 1).saturating_sub(read.load(Ordering::SeqCst));
        assert!(ahead <= sockets_hold, "{ahead} MiB are between client and backend: more than their sockets hold");
    }
    assert_eq!(wire.message().unwrap().status(), 200);
}

#[test]
fn a_backend_that_knows_nothing_of_expectations_gets_the_body_after_a_while() {
    let backend = Backend::answering(OK);
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 100);
    wire.send("hello");
    assert_eq!(wire.message().unwrap().status(), 200);
    assert_eq!(backend.heard().text(), "hello");
}

#[test]
fn an_early_answer_ends_both_connections() {
    let ended = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&ended);
    let backend = Backend::new(move |mut wire| {
        wire.head();
        wire.send("HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno");
        while wire.exactly(1).is_some() {}
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nbegin");
    assert_eq!(wire.message().unwrap().status(), 401);
    assert!(wire.has_ended());
    until("the backend's connection has ended", || ended.load(Ordering::SeqCst) == 1);
}

#[test]
fn trailers_say_nothing_of_the_connection_or_of_who_the_client_is() {
    let backend = Backend::answering(OK);
    ProxyHarness::serving(&backend.url(), &[]).ask(
        "POST / HTTP/1.1\r\nhost: a\r\ntrailer: x-forwarded-for, x-real-ip, forwarded, proxy-authorization, x-sum\r\n\
         transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-forwarded-for: 6.6.6.6\r\nx-real-ip: 6.6.6.6\r\n\
         forwarded: for=6.6.6.6\r\nproxy-authorization: x\r\nx-sum: mine\r\n\r\n",
    );
    assert_eq!(backend.heard().trailers, [("x-sum".to_owned(), "mine".to_owned())]);
}

#[test]
fn an_answer_that_came_before_the_backend_closed_is_not_lost() {
    let backend = Backend::new(|mut wire| {
        wire.head();
        // Unread bytes make the close a reset.
        wire.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno");
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    for _ in 0..10 {
        let mut wire = harness.connect();
        wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 8000000\r\n\r\n");
        for _ in 0..8 {
            wire.send(vec![b'x'; 1_000_000]);
        }
        assert_eq!(wire.message().map(|answer| (answer.status(), answer.body)), Some((413, b"no".to_vec())));
    }
}
