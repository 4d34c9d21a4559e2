//! Unusual peers: old clients, clients that close their sending side early, backends with malformed heads.

use std::thread;
use std::time::Duration;

use crate::support::PATIENCE;
use crate::support::backend::Backend;
use crate::support::proxy_harness::ProxyHarness;
use crate::support::wire::{Message, Wire};

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
const COUNTED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const CLOSED: &str = "HTTP/1.1 200 OK\r\n\r\nok";

/// Answers one request on each connection.
fn once(answer: impl AsRef<[u8]>) -> Backend {
    let answer = answer.as_ref().to_vec();
    Backend::new(move |mut wire| {
        wire.message();
        wire.send(&answer);
    })
}

fn connection(answer: &Message) -> &str {
    answer.field("connection").unwrap_or("")
}

#[test]
fn an_old_client_is_told_the_length_and_what_becomes_of_the_connection() {
    for (answer, has_length) in [(CHUNKED, false), (CLOSED, false), (COUNTED, true)] {
        let backend = once(answer);
        let harness = ProxyHarness::serving(&backend.url(), &[]);
        for keeps in [true, false] {
            let mut wire = harness.connect();
            let asks = if keeps { "Connection: keep-alive\r\n" } else { "" };
            wire.send(format!("GET / HTTP/1.0\r\nHost: a\r\n{asks}\r\n"));
            let got = wire.message().unwrap();
            assert_eq!((got.text(), got.field("transfer-encoding")), ("ok", None));
            assert!(got.line.starts_with("HTTP/1.0 200"), "{}", got.line);
            assert_eq!(got.field("content-length").is_some(), has_length, "{answer:?}");
            if keeps && has_length {
                assert_eq!(connection(&got), "keep-alive");
                wire.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
                assert_eq!(wire.message().unwrap().text(), "ok");
            } else {
                assert_ne!(connection(&got), "keep-alive", "{answer:?}");
            }
            assert!(wire.has_ended());
        }
    }
}

#[test]
fn an_old_client_keeps_its_connection_behind_answers_without_a_body() {
    for (request, answer) in [
        ("HEAD", CHUNKED.split_inclusive("\r\n\r\n").next().unwrap()),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\n\r\n"),
    ] {
        let backend = once(answer);
        let harness = ProxyHarness::serving(&backend.url(), &[]);
        let mut wire = harness.connect();
        for _ in 0..2 {
            wire.send(format!("{request} / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n"));
            let got = wire.head().unwrap();
            assert_eq!(connection(&got), "keep-alive", "{request} {answer:?}");
        }
    }
}

#[test]
fn an_old_client_never_takes_a_part_of_an_answer_for_the_whole() {
    for (compression, answer) in [
        ("false", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"),
        ("false", "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf"),
        ("true", "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\nhalf"),
    ] {
        let backend = once(answer);
        let harness = ProxyHarness::serving(&backend.url(), &[("compression", compression)]);
        for asks in ["", "Connection: keep-alive\r\n"] {
            let mut wire = harness.connect();
            wire.send(format!("GET / HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n{asks}\r\n"));
            assert!(wire.message().is_none(), "{answer:?}");
        }
    }
}

#[test]
fn a_refusal_tells_an_old_client_the_truth_too() {
    let mut harness = ProxyHarness::new();
    let key = harness.session("shop", "shop-1");
    harness.route(key, 1, "a", "/", "http://127.0.0.1:1");
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.0\r\nHost: other\r\nConnection: keep-alive\r\n\r\n");
    let got = wire.message().unwrap();
    assert_eq!((got.status(), connection(&got)), (404, "keep-alive"));
    wire.send("TRACE / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    let got = wire.message().unwrap();
    assert_eq!((got.status(), connection(&got)), (405, "close"));
    assert!(wire.has_ended());
}

#[test]
fn a_client_that_ends_its_side_behind_its_request_gets_the_answer() {
    let requests = [
        "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /slow HTTP/1.0\r\nHost: a\r\n\r\n",
        "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
        "POST /slow HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "GET /slow HTTP/1.1\r\nHost: a\r\n\r\nGET /slow HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for answer in [COUNTED, CHUNKED, CLOSED] {
        // Longer than a client may stay silent behind its request.
        let backend = Backend::new(move |mut wire| {
            while wire.message().is_some() {
                thread::sleep(Duration::from_millis(600));
                let (head, body) = answer.split_at(answer.find("\r\n\r\n").unwrap() + 4);
                wire.send(head);
                thread::sleep(Duration::from_millis(300));
                wire.send(body);
                if answer == CLOSED {
                    return;
                }
            }
        });
        let harness = ProxyHarness::serving(&backend.url(), &[]);
        let wires = requests.map(|request| {
            let mut wire = harness.connect();
            wire.send(request);
            wire.half_close();
            wire
        });
        for (mut wire, request) in wires.into_iter().zip(requests) {
            for _ in 0..request.matches("slow").count() {
                let got = wire.message().unwrap_or_else(|| panic!("{request:?} {answer:?}"));
                assert_eq!(got.text(), "ok", "{request:?} {answer:?}");
            }
            assert!(wire.has_ended(), "{request:?}");
        }
    }
}

#[test]
fn a_client_that_ends_its_side_within_its_request_is_told_so() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhi");
    wire.half_close();
    assert!(wire.message().is_none_or(|answer| answer.status() == 400));
}

/// Returns the answer that a client gets, or `None` for a refusal. It sends two requests, so that a connection in a wrong state shows.
fn got(answer: impl AsRef<[u8]>) -> Option<Message> {
    let backend = Backend::answering(answer);
    let harness = ProxyHarness::serving(&backend.url(), &[("retries", "0"), ("timeout", "5s")]);
    let mut wire: Wire = harness.connect();
    let mut last = None;
    for _ in 0..2 {
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        last = wire.message();
    }
    last.filter(|answer| answer.status() != 502)
}

#[test]
fn odd_heads_that_can_be_read_in_one_way_are_served_clean() {
    let counted = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
    let chunked = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\n2\r\nok\r\n0\r\n\r\n");
    for (answer, x) in [
        (chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), None),
        (chunked("Transfer-Encoding: chunked, chunked\r\n"), None),
        (chunked("Transfer-Encoding: identity, chunked\r\n"), None),
        (chunked("Transfer-Encoding : chunked\r\n"), None),
        (counted("Transfer-Encoding: identity\r\n"), None),
        (counted("Transfer-Encoding:\r\n"), None),
        (counted("X : y\r\n"), Some("y")),
        (counted("X \t: y\r\n"), Some("y")),
        (counted("X: a\r\n b\r\n\tc\r\n"), Some("a b c")),
        (counted("X: a\u{1}b\r\n"), Some("a b")),
        (counted("X: a\0b\r\n"), Some("a b")),
        (counted("X: a\rb\r\n"), Some("a b")),
        (counted("X: \u{1b}[31m\u{7f}z\r\n"), Some("[31m z")),
        (format!("HTTP/1.1 100 Continue\r\n\r\n{}", counted("X: a\u{2}b\r\n")), Some("a b")),
        (format!("\r\n{}", counted("X: y\r\n")), Some("y")),
        (counted("no field\r\nX: y\r\n"), Some("y")),
        (counted("X@Y(: z\r\nX: y\r\n"), Some("y")),
        (counted("X\u{e9}: z\r\nX: y\r\n"), Some("y")),
        (counted(": z\r\nX: y\r\n"), Some("y")),
        (counted("X: y\r\n").replace("1.1 200", "1.1  200"), Some("y")),
        (counted("X: y\r\n").replace("1.1 200", "1.2 200"), Some("y")),
        (counted("X: y\r\n").replace(" OK", ""), Some("y")),
        (counted("X: y\r\n").replace(" OK", " Tr\u{e8}s bien"), Some("y")),
        (counted("X: y\r\n").replace("\r\n", "\n"), Some("y")),
        (chunked("Transfer-Encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0"), None),
    ] {
        let got = got(&answer).expect(&answer);
        assert_eq!((got.status(), got.text(), got.field("x")), (200, "ok", x), "{answer:?}");
        assert!(got.all("transfer-encoding").count() + got.all("content-length").count() == 1, "{answer:?}");
    }
}

#[test]
fn odd_heads_that_could_be_read_in_two_ways_are_refused() {
    for fields in [
        "Content-Length: 2\0\r\n",
        "Content-Length: 2\r\n 0\r\n",
        "Content-Length\u{b}: 2\r\n",
        "Transfer-Encoding\u{1}: chunked\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding: \u{b}chunked\r\nContent-Length: 2\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\nContent-Length: 2\r\n",
        " X: y\r\nContent-Length: 2\r\n",
        "Connection: keep-alive\u{1}\r\nContent-Length: 2\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n2\r\nok\r\n0\r\n\r\n");
        assert!(got(&answer).is_none(), "{answer:?}");
    }
}

#[test]
fn heads_are_limited_by_their_bytes() {
    let lines = |count: usize| (0..count).map(|number| format!("x-{number}: y\r\n")).collect::<String>();
    let cookie = |bytes: usize| format!("Set-Cookie: {}\r\n", "x".repeat(bytes));
    for (fields, fits) in [
        (lines(300), true),
        (lines(1000), true),
        (cookie(100 * 1024), true),
        (cookie(60_000) + &cookie(60_000), true),
        (cookie(140 * 1024), false),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\n\r\nok");
        let got = got(&answer);
        assert_eq!(got.is_some(), fits, "{} bytes", answer.len());
        assert!(got.is_none_or(|got| got.fields.len() >= fields.lines().count() && got.text() == "ok"));
    }
}

#[test]
fn odd_heads_are_read_however_they_are_cut() {
    let answer = "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nX: a\r\n b\r\nTransfer-Encoding: chunked, \
                  chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for step in [1, 7, 40] {
        let backend = Backend::new(move |mut wire| {
            while wire.message().is_some() {
                for part in answer.as_bytes().chunks(step) {
                    wire.send(part);
                    thread::yield_now();
                }
            }
        });
        let harness = ProxyHarness::serving(&backend.url(), &[]);
        let mut wire = harness.connect();
        wire.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let got = std::iter::repeat_with(|| wire.message().unwrap()).find(|got| got.status() != 103).unwrap();
        assert_eq!((got.text(), got.field("x")), ("ok", Some("a b")), "{step}");
    }
}

#[test]
fn interim_responses_reach_the_client_before_the_answer_comes() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: keep-alive\r\n\r\n";
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let may_go = std::sync::Mutex::new(may_go);
    let backend = Backend::new(move |mut wire| {
        while wire.message().is_some() {
            wire.send(format!("HTTP/1.1 102 Processing\r\n\r\n{hints}"));
            may_go.lock().unwrap().recv().unwrap();
            wire.send(format!("HTTP/1.1 100 Continue\r\n\r\n{hints}{COUNTED}"));
        }
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    for body in ["Content-Length: 0\r\n\r\n", "Content-Length: 2\r\n\r\nhi", ""] {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let end = if body.is_empty() { "\r\n" } else { body };
        wire.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n{end}"));
        assert_eq!(wire.message().unwrap().status(), 102, "{body:?}");
        let early = wire.message().unwrap();
        assert_eq!((early.status(), early.field("link")), (103, Some("</a.css>; rel=preload")));
        assert_eq!(early.field("connection"), None);
        go.send(()).unwrap();
        assert_eq!(wire.message().unwrap().status(), 103, "one that comes together with the answer, {body:?}");
        let answer = wire.message().unwrap();
        assert_eq!((answer.status(), answer.text()), (200, "ok"));
    }
    let mut old = harness.connect();
    old.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    go.send(()).unwrap();
    assert_eq!(old.message().unwrap().status(), 200, "HTTP/1.0 knows none");
}

#[test]
fn an_interim_response_is_never_mixed_into_another_answer() {
    // The first answer is more than the client's socket takes: most of it is still here when the second request is answered.
    const BYTES: usize = 8 << 20;
    let backend = Backend::hearing(|mut wire, tell| {
        while let Some(request) = wire.message() {
            if request.target() == "/long" {
                wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
                wire.send(vec![b'x'; BYTES]);
            } else {
                wire.send(format!("HTTP/1.1 103 Early Hints\r\nLink: <y>\r\n\r\n{COUNTED}"));
            }
            tell(request);
        }
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\nGET /short HTTP/1.1\r\nHost: a\r\n\r\n");
    let long = wire.message().unwrap();
    assert!(long.body.len() == BYTES && long.body.iter().all(|byte| *byte == b'x'));
    let last = std::iter::repeat_with(|| wire.message().unwrap()).find(|answer| answer.status() != 103).unwrap();
    assert_eq!(last.text(), "ok");
}

#[test]
fn bytes_that_are_no_http_are_refused_at_once() {
    let backend = Backend::new(|mut wire| {
        wire.head();
        wire.send("220 ready\r\n");
        wire.has_ended();
    });
    let harness = ProxyHarness::serving(&backend.url(), &[("timeout", "9s")]);
    assert_eq!(harness.get("a", "/").status(), 502);
}

#[test]
fn names_go_to_backends_in_the_usual_capitals() {
    let raw = |mut wire: Wire| {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            head.push(char::from(wire.exactly(1).unwrap()[0]));
        }
        head
    };
    let (tell, heard) = std::sync::mpsc::channel();
    let backend = Backend::new(move |wire| {
        let socket = wire.socket().try_clone().unwrap();
        tell.send(raw(wire)).unwrap();
        Wire::over(socket).send("HTTP/1.1 200 OK\r\nx-mine: 1\r\ncontent-length: 0\r\n\r\n");
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\nx-own-field: 1\r\ncontent-length: 0\r\n\r\n");
    let request = heard.recv_timeout(PATIENCE).unwrap();
    for name in ["Host: a", "X-Own-Field: 1", "Content-Length: 0", "X-Forwarded-For: "] {
        assert!(request.contains(name), "{name} in {request}");
    }
    let mut upgrade = harness.connect();
    upgrade.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    let request = heard.recv_timeout(PATIENCE).unwrap();
    assert!(request.contains("Connection: Upgrade\r\n") && request.contains("Upgrade: websocket\r\n"), "{request}");
}
