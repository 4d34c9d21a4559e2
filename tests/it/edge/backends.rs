//! Backends that speak HTTP/2, without TLS (`h2c`) and with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
use signalbox::connect::BackendTls;

use crate::server::eventually;
use crate::support::backend::Backend;
use crate::support::http2::{GOAWAY, HEADERS, Http2Backend, OK, RST_STREAM, RawHttp2, WHOLE, frame, raw_backend, send};
use crate::support::proxy_harness::{ProxyHarness, until};
use crate::support::server_harness::ServerHarness;
use crate::support::tls::{Authority, TlsFront};

const GET: &str = "GET /x?y HTTP/1.1\r\nhost: shop.example\r\n\r\n";

fn in_flight(harness: &ProxyHarness) -> u64 {
    harness.table().endpoints().values().map(|endpoint| endpoint.live.in_flight()).sum()
}

fn post(body: &[u8]) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn a_request_and_its_answer_pass_whole_over_http2() {
    let backend = Http2Backend::named("two");
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let answer = harness.ask(GET);
    assert_eq!((answer.status(), answer.text()), (200, "two"));
    let heard = backend.heard();
    assert_eq!(heard.uri(), "http://shop.example/x?y");
    assert_eq!(heard.headers().get("x-forwarded-for").unwrap(), "127.0.0.1");
    for field in ["host", "connection", "transfer-encoding"] {
        assert!(!heard.headers().contains_key(field), "{field}");
    }
    let body: Vec<u8> = (0..=250).cycle().take(3_000_000).collect();
    assert!(harness.ask(post(&body)).body == body);
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    assert_eq!(harness.ask(chunked).text(), "abcde");
    assert_eq!(harness.ask("HEAD / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").status(), 200);
    assert_eq!(backend.connections(), 1, "one connection carries all");
}

#[test]
fn one_connection_carries_as_many_requests_at_once_as_the_backend_allows() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut settings = h2::server::Builder::new();
    settings.max_concurrent_streams(4);
    let (open, peak) = (Arc::clone(&now), Arc::clone(&most));
    let backend = Http2Backend::with(settings, move |mut exchange| {
        let (open, peak) = (Arc::clone(&open), Arc::clone(&peak));
        Box::pin(async move {
            peak.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // The first eight wait for each other: all are under way at once.
            while peak.load(Ordering::SeqCst) < 8 {
                tokio::task::yield_now().await;
            }
            open.fetch_sub(1, Ordering::SeqCst);
            exchange.answer(200, "x").await;
        })
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let address = harness.address();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            thread::spawn(move || {
                let mut wire = crate::support::wire::Wire::connect(address);
                wire.send(GET);
                wire.message().unwrap().status()
            })
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap() == 200));
    assert_eq!(backend.connections(), 2, "two connections of four streams");
}

/// A request is sent again, with its body, when the backend says that it has processed nothing.
#[test]
fn a_request_that_the_backend_refused_is_sent_again() {
    for kind in [RST_STREAM, GOAWAY] {
        let refused = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&refused);
        let backend = raw_backend(move |number, mut raw| {
            while let Some(head) = raw.wait(HEADERS) {
                if number == 0 {
                    counted.fetch_add(1, Ordering::SeqCst);
                    let refusal = match kind {
                        RST_STREAM => frame(RST_STREAM, 0, head.stream, &7_u32.to_be_bytes()),
                        // Nothing beyond stream 0 was processed.
                        _ => frame(GOAWAY, 0, 0, &[0; 8]),
                    };
                    raw.send(&refusal);
                } else {
                    raw.send(&frame(HEADERS, WHOLE, head.stream, OK));
                }
            }
        });
        let harness = ProxyHarness::serving(&backend, &[("retries", "1")]);
        for request in [GET.as_bytes().to_vec(), post(b"some body")] {
            assert_eq!(harness.ask(request).status(), 200, "{kind}");
        }
        assert_eq!(refused.load(Ordering::SeqCst), 1, "{kind}: its connection gets no further request");
    }
}

#[test]
fn a_reset_stream_fails_its_own_request_and_the_end_of_a_connection_all_of_its_requests() {
    let backend = raw_backend(|number, mut raw| {
        let mut waiting = Vec::new();
        while let Some(head) = raw.wait(HEADERS) {
            waiting.push(head.stream);
            match (number, waiting.len()) {
                (0, 1 | 3) => {}
                (0, 2) => {
                    // INTERNAL_ERROR for the first.
                    raw.send(&frame(RST_STREAM, 0, waiting[0], &2_u32.to_be_bytes()));
                    raw.send(&frame(HEADERS, WHOLE, waiting[1], OK));
                }
                (0, _) => return,
                _ => raw.send(&frame(HEADERS, WHOLE, head.stream, OK)),
            }
        }
    });
    let harness = ProxyHarness::serving(&backend, &[("retries", "0")]);
    let asked = || {
        let mut wire = harness.connect();
        wire.send(GET);
        wire
    };
    let mut first = asked();
    // The second is sent once the first is under way; both are on one connection.
    until("the first is under way", || in_flight(&harness) == 1);
    assert_eq!(harness.ask(GET).status(), 200);
    assert_eq!(first.message().unwrap().status(), 502);
    let [mut third, mut fourth] = [asked(), asked()];
    assert_eq!((third.message().unwrap().status(), fourth.message().unwrap().status()), (502, 502));
    assert_eq!(harness.ask(GET).status(), 200, "on a new connection");
}

#[test]
fn no_more_of_a_body_than_a_window_waits_for_a_client_that_does_not_read() {
    const LENGTH: usize = 64 << 20;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let backend = Http2Backend::new(move |mut exchange| {
        let counted = Arc::clone(&counted);
        async move {
            let mut stream = exchange.head(200, &[]);
            let part = Bytes::from(vec![7; 16 * 1024]);
            while counted.load(Ordering::SeqCst) < LENGTH && send(&mut stream, part.clone()).await {
                counted.fetch_add(part.len(), Ordering::SeqCst);
            }
            let _ = stream.send_data(Bytes::new(), true);
        }
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut wire = harness.connect();
    wire.send(GET);
    assert_eq!(wire.head().unwrap().status(), 200);
    let mut before = usize::MAX;
    until("the backend is held up", || {
        thread::sleep(std::time::Duration::from_millis(200));
        std::mem::replace(&mut before, sent.load(Ordering::SeqCst)) == before
    });
    // The buffers of the two sockets to the client hold some mebibytes.
    assert!(sent.load(Ordering::SeqCst) < LENGTH / 2, "{} bytes were read ahead", sent.load(Ordering::SeqCst));
    let mut read = 0;
    while let Some(chunk) = wire.chunk().filter(|chunk| !chunk.is_empty()) {
        read += chunk.len();
    }
    assert_eq!(read, LENGTH);
}

#[test]
fn a_client_that_leaves_has_its_stream_reset() {
    let frames = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&frames);
    let backend = raw_backend(move |_, mut raw| {
        let head = raw.wait(HEADERS).unwrap();
        seen.store(1, Ordering::SeqCst);
        let reset = raw.wait(RST_STREAM).unwrap();
        assert_eq!((reset.stream, reset.payload.as_slice()), (head.stream, &8_u32.to_be_bytes()[..]));
        seen.store(2, Ordering::SeqCst);
        let next = raw.wait(HEADERS).unwrap();
        raw.send(&frame(HEADERS, WHOLE, next.stream, OK));
        let _ = raw.next();
    });
    let harness = ProxyHarness::serving(&backend, &[]);
    let mut wire = harness.connect();
    wire.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nab");
    until("the backend has the request", || frames.load(Ordering::SeqCst) == 1);
    wire.reset();
    until("its stream is reset", || frames.load(Ordering::SeqCst) == 2);
    assert_eq!(harness.get("a", "/").status(), 200, "the connection goes on");
}

#[test]
fn a_body_over_the_limit_is_refused_and_a_server_without_http2_is_a_502() {
    let backend = Http2Backend::named("two");
    let harness = ProxyHarness::serving(&backend.url(), &[("max_body_size", "4")]);
    let chunked = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n";
    assert_eq!(harness.ask(chunked).status(), 413);
    assert_eq!(harness.ask(GET).status(), 200);
    let plain = Backend::named("one");
    let harness = ProxyHarness::serving(&plain.url().replace("http://", "h2c://"), &[]);
    assert_eq!(harness.ask(GET).status(), 502);
}

#[test]
fn a_backend_over_tls_chooses_the_protocol_and_upgrades_go_over_http1() {
    let authority = Authority::new();
    let trusting =
        || ProxyHarness::with(|settings| settings.tls = BackendTls::trusting(authority.pem.as_bytes()).unwrap());
    let two = Http2Backend::named("two");
    let front = TlsFront::before(two.address(), &authority.certify("localhost").with_http2());
    let mut harness = trusting();
    harness.serve("shop", "shop-1", &front.url("localhost"), &[]);
    for _ in 0..3 {
        assert_eq!(harness.ask(GET).text(), "two");
    }
    assert_eq!(front.handshake().protocol.as_deref(), Some("h2"));
    assert_eq!(two.heard().uri(), "https://shop.example/x?y");
    assert_eq!(front.connections(), 1);
    harness.ask("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(front.handshake().protocol.as_deref(), Some("http/1.1"), "HTTP/2 has no upgrades");

    let one = Backend::named("one");
    let front = TlsFront::before(one.address(), &authority.certify("localhost"));
    let mut harness = trusting();
    harness.serve("shop", "shop-1", &front.url("localhost"), &[]);
    for _ in 0..3 {
        assert_eq!(harness.ask(GET).text(), "one");
    }
    assert_eq!((front.handshake().protocol.as_deref(), front.connections()), (Some("http/1.1"), 1));
}

/// A backend that speaks both protocols, and refuses HTTP/2 with `HTTP_1_1_REQUIRED`: by a frame of a kind, the first of which comes
/// with the settings if `at_once`. Returns its address and the numbers of requests that it refused and answered.
fn requiring_http1(kind: u8, at_once: bool) -> (std::net::SocketAddr, Arc<[AtomicUsize; 2]>) {
    let counts: Arc<[AtomicUsize; 2]> = Arc::default();
    let counted = Arc::clone(&counts);
    let backend = Backend::new(move |mut wire| {
        let mut first = [0; 3];
        if wire.socket().peek(&mut first).is_ok() && first == *b"PRI" {
            let mut raw = RawHttp2::begin(wire.socket().try_clone().unwrap()).unwrap();
            // Nothing beyond stream 0 was processed.
            let goaway = frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 13]);
            if at_once {
                raw.send(&goaway);
            }
            while let Some(head) = raw.wait(HEADERS) {
                counted[0].fetch_add(1, Ordering::SeqCst);
                let reset = frame(RST_STREAM, 0, head.stream, &13_u32.to_be_bytes());
                raw.send(if kind == GOAWAY { &goaway } else { &reset });
            }
            return;
        }
        while let Some(request) = wire.message() {
            counted[1].fetch_add(1, Ordering::SeqCst);
            let body = request.text();
            wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        }
    });
    (backend.address(), counts)
}

/// RFC 9113 §7: the request is sent again over HTTP/1.1, and the requests after it go there at once.
#[test]
fn a_backend_that_requires_http1_gets_it_where_its_url_allows_it() {
    let authority = Authority::new();
    for (kind, at_once) in [(RST_STREAM, false), (GOAWAY, false), (GOAWAY, true)] {
        let (address, counts) = requiring_http1(kind, at_once);
        let front = TlsFront::before(address, &authority.certify("localhost").with_http2());
        let trust = BackendTls::trusting(authority.pem.as_bytes()).unwrap();
        let mut harness = ProxyHarness::with(|settings| settings.tls = trust);
        harness.serve("shop", "shop-1", &front.url("localhost"), &[]);
        for body in ["one", "two", "three"] {
            let answer = harness.ask(post(body.as_bytes()));
            assert_eq!((answer.status(), answer.text()), (200, body), "{kind} {at_once}");
        }
        let [refused, answered] = [0, 1].map(|at: usize| counts[at].load(Ordering::SeqCst));
        assert!(refused <= 1 && answered == 3, "{kind} {at_once}: {refused} refused, {answered} answered");

        // Prior knowledge of HTTP/2 excludes HTTP/1.1.
        let harness = ProxyHarness::serving(&format!("h2c://{address}"), &[]);
        assert_eq!(harness.ask(GET).status(), 502, "{kind} {at_once}");
        let (_, failure) =
            harness.table().endpoints().values().find_map(|endpoint| endpoint.live.failures.last()).unwrap();
        assert!(failure.contains("it wants HTTP/1.1, which h2c:// excludes; give the backend as http://"), "{failure}");
    }
}

#[test]
fn checks_and_tests_of_a_backend_that_requires_http1_use_it() {
    let (address, counts) = requiring_http1(RST_STREAM, false);
    let front = TlsFront::before(address, &Authority::new().certify("localhost").with_http2());
    let harness = ServerHarness::open();
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/", &front.url("localhost"));
    instance.set("OPTIONS_SET", "r1|tls_verify|false");
    instance.expect("HEALTH_SET", "r1|/well|1s|1s", "HEALTH_OK");
    instance.apply();
    eventually("it was checked", || {
        let known = instance.payload("CIRCUIT_BREAKER_STATUS", "r1");
        !known["last_check"].is_null() && known["last_check"]["error"].is_null()
    });
    let tested = instance.ask("BACKEND_TEST", &front.url("localhost"));
    assert!(tested.starts_with("BACKEND_OK|") && tested.contains(":200"), "{tested}");
    assert!(counts[1].load(Ordering::SeqCst) >= 2);
}
