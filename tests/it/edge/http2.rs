//! HTTP/2 to clients, as clients and HTTP/1.1 backends see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{HeaderMap, HeaderValue, Request};

use crate::support::backend::Backend;
use crate::support::http2_client::{Http2Client, reason};
use crate::support::proxy_harness::{ProxyHarness, until};
use crate::support::wire::{Message, Wire};

const SOON: Duration = Duration::from_millis(200);

fn request(method: &str, target: &str) -> http::request::Builder {
    Request::builder().method(method).uri(target)
}

#[test]
fn many_requests_share_a_connection_and_backends_see_http_1() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut client = Http2Client::connect(harness.address());
    let asked: Vec<_> = (0..100)
        .map(|number| {
            client.begin(request("GET", &format!("http://a.example:81/{number}?q")).body(()).unwrap(), true).0
        })
        .collect();
    for response in asked {
        let response = client.finish(response).unwrap();
        assert_eq!((response.status.as_u16(), response.text()), (200, "b"));
    }
    let mut targets: Vec<String> = (0..100).map(|_| backend.heard().target().to_owned()).collect();
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), 100);

    let mut fields = request("GET", "http://a.example:81/cookies").header("te", "trailers").header("x-kept", "1");
    for crumb in 0..90 {
        fields = fields.header("cookie", format!("c{crumb}={crumb}"));
    }
    let (response, _) = client.begin(fields.body(()).unwrap(), true);
    assert_eq!(client.finish(response).unwrap().status, 200);
    let heard = backend.heard();
    assert_eq!(heard.line, "GET /cookies HTTP/1.1");
    assert_eq!(heard.all("host").collect::<Vec<_>>(), ["a.example:81"]);
    assert_eq!((heard.field("x-kept"), heard.field("te")), (Some("1"), Some("trailers")));
    let cookies: Vec<_> = heard.all("cookie").collect();
    assert_eq!((cookies.len(), cookies[0].split("; ").count()), (1, 90));
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let answer = "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                  5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";
    let backend = Backend::answering(answer);
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut client = Http2Client::connect(harness.address());
    for length in [Some("9"), None] {
        let mut head = request("POST", "http://a/").header("te", "trailers").header("trailer", "x-end");
        if let Some(length) = length {
            head = head.header("content-length", length);
        }
        let (response, mut body) = client.begin(head.body(()).unwrap(), false);
        for part in ["one", "two", "six"] {
            body.send_data(Bytes::from_static(part.as_bytes()), false).unwrap();
        }
        let trailers: HeaderMap = [("x-end".parse().unwrap(), HeaderValue::from_static("2"))].into_iter().collect();
        body.send_trailers(trailers).unwrap();
        let response = client.finish(response).unwrap();
        assert_eq!((response.status.as_u16(), response.text()), (200, "hello"));
        assert_eq!(response.trailers.unwrap()["x-sum"], "1");
        assert!(!response.headers.contains_key("transfer-encoding"));
        let heard = backend.heard();
        assert_eq!((heard.text(), heard.field("content-length")), ("onetwosix", length));
        let trailers: Vec<_> = heard.trailers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(trailers, if length.is_some() { vec![] } else { vec![("x-end", "2")] });
    }
}

#[test]
fn responses_without_a_body_end_with_their_head_and_pages_have_a_length() {
    for (method, answer, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Some("5")),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n", None),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x-y\r\nx-y: 1\r\n\r\n", Some("0")),
    ] {
        let backend = Backend::answering(answer);
        let harness = ProxyHarness::serving(&backend.url(), &[]);
        let mut client = Http2Client::connect(harness.address());
        let (response, _) = client.begin(request(method, "http://a/").body(()).unwrap(), true);
        let response = client.finish(response).unwrap();
        let said = response.headers.get("content-length").map(|length| length.to_str().unwrap());
        assert_eq!((said, response.text(), response.headers.get("x-y")), (length, "", None), "{answer}");
    }
    let harness = ProxyHarness::new();
    let mut client = Http2Client::connect(harness.address());
    let page = client.get("http://nobody.example/").unwrap();
    let length: usize = page.headers["content-length"].to_str().unwrap().parse().unwrap();
    assert_eq!((page.status.as_u16(), length), (404, page.body.len()));
    let (response, _) = client.begin(request("HEAD", "http://nobody.example/").body(()).unwrap(), true);
    assert!(client.finish(response).unwrap().body.is_empty());
}

#[test]
fn a_response_that_breaks_off_resets_its_stream_alone() {
    let backend = Backend::new(|mut wire| {
        while let Some(request) = wire.message() {
            if request.target() == "/broken" {
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
                return;
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole");
        }
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut client = Http2Client::connect(harness.address());
    let broken = client.get("http://a/broken").unwrap_err();
    assert_eq!(reason(&broken), Some(Reason::INTERNAL_ERROR));
    assert_eq!(client.get("http://a/whole").unwrap().text(), "whole");
}

#[test]
fn a_stream_that_the_client_resets_frees_its_backend_and_counts_as_499() {
    let backend = Backend::hearing(|mut wire, tell| {
        let Some(request) = wire.message() else { return };
        if request.target() == "/streams" {
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
        }
        let ended = Message { line: "ended".to_owned(), fields: vec![], body: vec![], trailers: vec![] };
        tell(request);
        assert!(wire.has_ended());
        tell(ended);
    });
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &backend.url(), &[]);
    let mut client = Http2Client::connect(harness.address());
    let in_flight = |count| until("the requests in flight", || harness.table().in_flight(key) == count);
    for target in ["http://a/silent", "http://a/streams"] {
        let (mut response, mut stream) = client.begin(request("GET", target).body(()).unwrap(), true);
        backend.heard();
        // The status counts from the head of the response on.
        let head = target.ends_with("streams").then(|| client.wait(&mut response));
        stream.send_reset(Reason::CANCEL);
        in_flight(0);
        assert_eq!(backend.heard().line, "ended");
        drop((response, head));
    }
    let stats = harness.table().stats(key, signalbox::domain::RouteId(1));
    assert_eq!(stats.status_codes.iter().collect::<Vec<_>>(), [(&200, &1), (&499, &1)]);
}

#[test]
fn interim_responses_come_before_the_response_and_a_body_is_asked_for() {
    let backend = Backend::new(|mut wire| {
        let request = wire.head().unwrap();
        wire.send("HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n");
        if request.field("expect").is_some() {
            wire.send("HTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(wire.exactly(4).unwrap(), b"body");
        }
        std::thread::sleep(Duration::from_millis(20));
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        wire.has_ended();
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut client = Http2Client::connect(harness.address());
    let (mut response, _) = client.begin(request("GET", "http://a/").body(()).unwrap(), true);
    let hints = client.interim(&mut response);
    assert_eq!((hints.len(), &hints[0].headers()["link"]), (1, &HeaderValue::from_static("</style.css>")));
    assert_eq!(client.finish(response).unwrap().text(), "ok");
    let head = request("POST", "http://a/").header("expect", "100-continue").header("content-length", "4");
    let (mut response, mut body) = client.begin(head.body(()).unwrap(), false);
    let asked = client.wait(std::future::poll_fn(|cx| response.poll_informational(cx))).unwrap().unwrap();
    assert!(asked.status().is_informational());
    body.send_data(Bytes::from_static(b"body"), true).unwrap();
    assert_eq!(client.finish(response).unwrap().text(), "ok");
}

/// A backend that sends `bytes` after each request, and counts what it could send.
fn large(bytes: usize, sent: &Arc<AtomicUsize>) -> Backend {
    let sent = Arc::clone(sent);
    Backend::new(move |mut wire: Wire| {
        while wire.message().is_some() {
            wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n"));
            for _ in 0..bytes / 65_536 {
                if !wire.send(vec![b'x'; 65_536]) {
                    return;
                }
                sent.fetch_add(65_536, Ordering::SeqCst);
            }
        }
    })
}

#[test]
fn a_large_body_arrives_whole_through_windows_of_any_size() {
    let backend = large(4 << 20, &Arc::default());
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    for window in [1000, 65_535, 8 << 20] {
        let mut client = Http2Client::with(harness.address(), |builder| {
            builder.initial_window_size(window);
            if window > 65_535 {
                builder.initial_connection_window_size(window);
            }
        });
        assert_eq!(client.get("http://a/").unwrap().body.len(), 4 << 20, "window {window}");
    }
}

#[test]
fn a_stream_without_a_window_is_reset_and_its_body_was_not_read_ahead() {
    let sent = Arc::new(AtomicUsize::new(0));
    let backend = large(64 << 20, &sent);
    let mut harness = ProxyHarness::with(|settings| settings.window_timeout = SOON);
    let key = harness.serve("shop", "shop-1", &backend.url(), &[]);
    let mut client = Http2Client::connect(harness.address());
    let heads: Vec<_> = (0..20)
        .map(|_| {
            let (response, _) = client.begin(request("GET", "http://a/").body(()).unwrap(), true);
            // The body is never read: no window is given back.
            client.wait(response).unwrap()
        })
        .collect();
    until("all streams are reset", || harness.table().in_flight(key) == 0);
    // Sockets on both sides of the proxy hold some of it.
    assert!(sent.load(Ordering::SeqCst) < 20 * (8 << 20), "{} bytes were read", sent.load(Ordering::SeqCst));
    for head in heads {
        let ended = client.wait(async {
            let mut body = head.into_body();
            while let Some(data) = body.data().await {
                if let Err(error) = data {
                    return Some(error);
                }
            }
            None
        });
        assert_eq!(reason(&ended.expect("a reset")), Some(Reason::CANCEL));
    }
}

#[test]
fn a_response_that_stands_still_is_reset() {
    let backend = Backend::new(|mut wire| {
        wire.message();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
        wire.has_ended();
    });
    let harness = ProxyHarness::serving(&backend.url(), &[("stream_idle_timeout", "100ms")]);
    let mut client = Http2Client::connect(harness.address());
    assert_eq!(reason(&client.get("http://a/").unwrap_err()), Some(Reason::INTERNAL_ERROR));
}

#[test]
fn a_backend_that_does_not_answer_in_time_is_a_504_on_its_stream() {
    let backend = Backend::new(|mut wire| {
        wire.message();
        wire.has_ended();
    });
    let harness = ProxyHarness::serving(&backend.url(), &[("timeout", "100ms")]);
    let mut client = Http2Client::connect(harness.address());
    for _ in 0..2 {
        assert_eq!(client.get("http://a/").unwrap().status, 504);
    }
}

#[test]
fn a_stop_lets_requests_finish_and_ends_the_connection() {
    let backend = Backend::hearing(|mut wire, tell| {
        tell(wire.message().unwrap());
        std::thread::sleep(Duration::from_millis(100));
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate");
        wire.has_ended();
    });
    let mut harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut client = Http2Client::connect(harness.address());
    let (response, _) = client.begin(request("GET", "http://a/").body(()).unwrap(), true);
    backend.heard();
    harness.stop(Duration::from_secs(10));
    assert_eq!(client.finish(response).unwrap().text(), "late");
    client.ended().unwrap();
}

#[test]
fn a_connection_without_streams_is_ended_in_order_after_a_while() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::with(|settings| settings.keep_alive = SOON);
    harness.serve("shop", "shop-1", &backend.url(), &[]);
    let mut client = Http2Client::connect(harness.address());
    assert_eq!(client.get("http://a/").unwrap().text(), "b");
    client.ended().expect("no error, because a GOAWAY came first");
}

#[test]
fn a_request_that_is_too_large_or_not_allowed_is_answered_on_its_stream() {
    let backend = Backend::named("b");
    let harness = ProxyHarness::serving(&backend.url(), &[("max_body_size", "1KiB")]);
    let mut client = Http2Client::connect(harness.address());
    let large = request("GET", "http://a/").header("x-large", "x".repeat(60 * 1024)).header("x-more", "y".repeat(9000));
    let (response, _) = client.begin(large.body(()).unwrap(), true);
    let answer = client.finish(response).unwrap();
    assert_eq!((answer.status.as_u16(), answer.headers.contains_key("x-request-id")), (431, true));
    let (response, mut body) = client.begin(request("POST", "http://a/").body(()).unwrap(), false);
    body.send_data(Bytes::from(vec![0; 2048]), true).unwrap();
    assert_eq!(client.finish(response).unwrap().status, 413);
    for (method, host, status) in [("CONNECT", "a:443", 405), ("TRACE", "a", 405), ("GET", "b", 400)] {
        let target = if method == "CONNECT" { "a:443" } else { "http://a/" };
        let head = request(method, target).header("host", host);
        let (response, _) = client.begin(head.body(()).unwrap(), true);
        assert_eq!(client.finish(response).unwrap().status, status, "{method} {host}");
    }
    assert_eq!(client.get("http://a/").unwrap().text(), "b", "the connection goes on");
}

#[test]
fn a_websocket_on_a_stream_is_one_to_the_backend() {
    let backend = Backend::hearing(|mut wire, tell| {
        let request = wire.head().unwrap();
        let is_allowed = request.target() == "/ws";
        tell(request);
        if !is_allowed {
            wire.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\nno");
            return;
        }
        wire.send(
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: x\r\nsec-websocket-protocol: chat\r\n\r\n",
        );
        while let Some(bytes) = wire.exactly(4) {
            wire.send(bytes);
        }
    });
    let mut harness = ProxyHarness::new();
    let key = harness.serve("shop", "shop-1", &backend.url(), &[]);
    let mut client = Http2Client::connect(harness.address());
    client.get("http://a/plain").unwrap();
    backend.heard();
    let connect = |target: &str, protocol: &'static str| {
        let head = request("CONNECT", target).extension(h2::ext::Protocol::from_static(protocol));
        head.header("sec-websocket-version", "13").body(()).unwrap()
    };
    let (response, mut sent) = client.begin(connect("http://a/ws", "websocket"), false);
    let head = client.wait(response).unwrap();
    assert_eq!((head.status().as_u16(), head.headers().contains_key("sec-websocket-accept")), (200, false));
    assert_eq!(head.headers()["sec-websocket-protocol"], "chat");
    let heard = backend.heard();
    assert_eq!(heard.line, "GET /ws HTTP/1.1");
    assert_eq!((heard.field("upgrade"), heard.field("sec-websocket-version")), (Some("websocket"), Some("13")));
    assert_eq!(heard.field("sec-websocket-key").map(str::len), Some(24));
    let mut body = head.into_body();
    for ping in ["ping", "pong"] {
        sent.send_data(Bytes::from_static(ping.as_bytes()), false).unwrap();
        assert_eq!(client.wait(body.data()).unwrap().unwrap(), ping);
    }
    assert_eq!(harness.table().in_flight(key), 1);
    sent.send_data(Bytes::new(), true).unwrap();
    assert!(client.wait(body.data()).is_none_or(|end| end.unwrap().is_empty()));
    until("the tunnel has ended", || harness.table().in_flight(key) == 0);
    for (target, protocol, status) in [("http://a/", "websocket", 400), ("http://a/ws", "connect-udp", 403)] {
        let (response, _) = client.begin(connect(target, protocol), false);
        assert_eq!(client.wait(response).unwrap().status(), status, "{target} {protocol}");
    }
}
