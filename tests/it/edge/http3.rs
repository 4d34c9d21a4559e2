//! HTTP/3 to clients, as clients and HTTP/1.1 backends see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h3::error::{Code, StreamError};
use http::{HeaderMap, HeaderValue, Request};
use quinn::VarInt;
use signalbox::certificates::ServedCertificate;
use signalbox::domain::Target;
use signalbox::proxy::ProxySettings;

use crate::support::backend::Backend;
use crate::support::http3_client::Http3Client;
use crate::support::proxy_harness::{ProxyHarness, option, until};
use crate::support::tls::{Authority, TlsClient};

const SOON: Duration = Duration::from_millis(200);

/// A proxy that speaks HTTP/3 for `a.example` and `*.a.example`, and for `b.example` with another certificate.
struct Edge {
    authority: Authority,
    harness: ProxyHarness,
    client: TlsClient,
}

impl Edge {
    fn before(backend: &Backend, options: &[(&str, &str)]) -> Self {
        Self::with(backend, options, |_| {})
    }

    fn with(backend: &Backend, options: &[(&str, &str)], change: impl FnOnce(&mut ProxySettings)) -> Self {
        let authority = Authority::new();
        let mut harness = ProxyHarness::with(|settings| {
            settings.certificates.set_configured(certificates(&authority), None);
            settings.https_port = Some(8443);
            change(settings);
        });
        harness.serve("shop", "one", &backend.url(), options);
        Self { client: TlsClient::trusting(&authority), authority, harness }
    }

    fn try_to_connect(&self, name: &str) -> Result<Http3Client, String> {
        Http3Client::connect(&self.client, self.harness.secure_address(), name)
    }

    fn connect(&self, name: &str) -> Http3Client {
        self.try_to_connect(name).unwrap()
    }
}

fn certificates(authority: &Authority) -> Vec<ServedCertificate> {
    let all = [&["a.example", "*.a.example"][..], &["b.example"]];
    all.map(|names| authority.issue_all(names).served()).to_vec()
}

fn post(target: &str) -> http::request::Builder {
    Request::post(target)
}

/// A backend that answers a body with its length, and otherwise with a body of `bytes`.
fn large(bytes: usize, sent: &Arc<AtomicUsize>) -> Backend {
    let sent = Arc::clone(sent);
    Backend::new(move |mut wire| {
        while let Some(message) = wire.message() {
            if !message.body.is_empty() {
                let length = message.body.len().to_string();
                wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{length}", length.len()));
                continue;
            }
            wire.send(format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n"));
            for _ in 0..bytes / 65_536 {
                if !wire.send(vec![7; 65_536]) {
                    return;
                }
                sent.fetch_add(65_536, Ordering::SeqCst);
            }
        }
    })
}

#[test]
fn many_requests_share_a_connection_and_backends_see_https_and_http_1() {
    let backend = Backend::named("b");
    let edge = Edge::before(&backend, &[]);
    let client = edge.connect("a.example");
    let request = |target: &str| Request::get(format!("https://a.example{target}")).body(()).unwrap();
    let mut streams: Vec<_> = (0..100).map(|number| client.begin(request(&format!("/{number}?q")))).collect();
    for stream in &mut streams {
        client.wait(stream.finish()).unwrap();
    }
    for stream in &mut streams {
        let response = client.finish(stream).unwrap();
        assert_eq!((response.status.as_u16(), response.text()), (200, "b"));
        assert!(response.headers.contains_key("date"));
    }
    let mut targets: Vec<String> = (0..100).map(|_| backend.heard().target().to_owned()).collect();
    targets.sort();
    targets.dedup();
    assert_eq!(targets.len(), 100);

    let mut fields = Request::get("https://a.example:8443/cookies").header("x-kept", "1");
    for crumb in 0..90 {
        fields = fields.header("cookie", format!("c{crumb}={crumb}"));
    }
    assert_eq!(client.ask(fields.body(()).unwrap(), b"").unwrap().status, 200);
    let heard = backend.heard();
    assert_eq!(heard.line, "GET /cookies HTTP/1.1");
    assert_eq!(heard.all("host").collect::<Vec<_>>(), ["a.example:8443"]);
    assert_eq!((heard.field("x-kept"), heard.field("transfer-encoding")), (Some("1"), None));
    assert_eq!((heard.field("x-forwarded-proto"), heard.field("x-forwarded-for")), (Some("https"), Some("127.0.0.1")));
    let cookies: Vec<_> = heard.all("cookie").collect();
    assert_eq!((cookies.len(), cookies[0].split("; ").count()), (1, 90));
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let answer = "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                  5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";
    let backend = Backend::answering(answer);
    let edge = Edge::before(&backend, &[]);
    let client = edge.connect("a.example");
    for length in [Some("9"), None] {
        let mut head = post("https://a.example/").header("te", "trailers").header("trailer", "x-end");
        if let Some(length) = length {
            head = head.header("content-length", length);
        }
        let mut stream = client.begin(head.body(()).unwrap());
        for part in ["one", "two", "six"] {
            client.wait(stream.send_data(Bytes::from_static(part.as_bytes()))).unwrap();
        }
        let trailers: HeaderMap = [("x-end".parse().unwrap(), HeaderValue::from_static("2"))].into_iter().collect();
        client.wait(stream.send_trailers(trailers)).unwrap();
        client.wait(stream.finish()).unwrap();
        let response = client.finish(&mut stream).unwrap();
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
fn large_bodies_arrive_whole_through_windows_of_any_size() {
    let backend = large(2 << 20, &Arc::default());
    let edge = Edge::before(&backend, &[]);
    for window in [2000, 8 << 20] {
        let client = Http3Client::with(&edge.client, edge.harness.secure_address(), "a.example", |transport| {
            transport.stream_receive_window(VarInt::from_u32(window));
        });
        let client = client.unwrap();
        assert_eq!(client.get("https://a.example/").unwrap().body.len(), 2 << 20, "window {window}");
        let sent = client.ask(post("https://a.example/").body(()).unwrap(), &vec![1; 2 << 20]).unwrap();
        assert_eq!(sent.text(), (2 << 20).to_string());
    }
}

#[test]
fn interim_responses_come_before_the_response() {
    let backend = Backend::answering(
        "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nb",
    );
    let edge = Edge::before(&backend, &[]);
    let client = edge.connect("a.example");
    let mut stream =
        client.begin(Request::post("https://a.example/").header("expect", "100-continue").body(()).unwrap());
    assert_eq!(client.wait(stream.recv_response()).unwrap().status(), 100);
    client.wait(stream.send_data(Bytes::from_static(b"body"))).unwrap();
    client.wait(stream.finish()).unwrap();
    let hints = client.wait(stream.recv_response()).unwrap();
    assert_eq!((hints.status().as_u16(), hints.headers()["link"].as_bytes()), (103, &b"</a.css>"[..]));
    assert_eq!(client.finish(&mut stream).unwrap().status, 200);
    assert_eq!(backend.heard().text(), "body");
}

#[test]
fn a_request_that_is_too_large_or_not_allowed_is_answered_on_its_stream() {
    let backend = Backend::named("b");
    let edge = Edge::before(&backend, &[("max_body_size", "1KiB")]);
    let client = edge.connect("a.example");
    // One byte too many, announced or not; the client sends no end.
    for length in [Some("1025"), None] {
        let mut head = post("https://a.example/");
        if let Some(length) = length {
            head = head.header("content-length", length);
        }
        let mut stream = client.begin(head.body(()).unwrap());
        // An announced length may be refused before the body is sent: the server wants no more of it then.
        let sent = client.wait(stream.send_data(Bytes::from(vec![0; 1025])));
        assert!(sent.is_ok() || length.is_some(), "{sent:?}");
        assert_eq!(client.finish(&mut stream).unwrap().status, 413, "{length:?}");
    }
    let head = || Request::get("https://a.example/");
    for (request, status) in [
        (head().method("TRACE"), 405),
        (Request::connect("a.example:443"), 405),
        (head().header("connection", "close"), 400),
        (head().header("transfer-encoding", "chunked"), 400),
        (head().header("content-length", "x"), 400),
        (head().header("te", "gzip"), 400),
        (head().header("x-large", "x".repeat(70_000)), 431),
        (post("https://a.example/").header("content-length", "5"), 400),
        (Request::connect("https://a.example/ws").extension(h3::ext::Protocol::WEB_TRANSPORT), 403),
    ] {
        let request = request.body(()).unwrap();
        let shown = format!("{:?} {:?}", request.method(), request.uri());
        let answer = client.ask(request, b"").unwrap();
        assert_eq!((answer.status.as_u16(), answer.headers.contains_key("x-request-id")), (status, true), "{shown}");
    }
    assert_eq!(client.get("https://a.example/").unwrap().text(), "b", "the connection goes on");
}

#[test]
fn a_connection_answers_for_the_hosts_that_its_certificate_covers() {
    let backend = Backend::named("b");
    let mut edge = Edge::before(&backend, &[]);
    for (name, host, status) in [
        ("a.example", "a.example", 200),
        ("a.example", "x.a.example", 200),
        ("x.a.example", "a.example", 200),
        ("a.example", "y.x.a.example", 421),
        ("a.example", "b.example", 421),
        ("b.example", "b.example", 200),
    ] {
        let response = edge.connect(name).get(&format!("https://{host}/")).unwrap();
        assert_eq!(response.status, status, "{host} on a connection to {name}");
    }
    assert!(edge.try_to_connect("c.example").err().unwrap().contains("112"), "unrecognized_name");
    // A route for `/` that is not for HTTP/3, and one below it.
    let key = edge.harness.session("old", "one");
    edge.harness.apply(key, vec![option(Target::All, "http3", "false")]);
    edge.harness.route(key, 1, "x.a.example", "/", &backend.url());
    edge.harness.route(key, 2, "a.example", "/old", &backend.url());
    assert!(edge.try_to_connect("x.a.example").err().unwrap().contains("120"), "no_application_protocol");
    let client = edge.connect("a.example");
    for (target, status) in [("https://a.example/old", 421), ("https://x.a.example/", 421), ("https://a.example/", 200)]
    {
        assert_eq!(client.get(target).unwrap().status, status, "{target}");
    }
}

#[test]
fn a_domain_that_requires_a_client_certificate_gets_it() {
    let backend = Backend::named("b");
    let (edge, clients) = (Edge::before(&backend, &[]), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let own = edge.authority.issue("b.example");
    for (name, pem) in [("cert", &own.cert), ("key", &own.key), ("ca", &clients.pem)] {
        std::fs::write(at(name), pem).unwrap();
    }
    let client_ca = Some(at("ca"));
    let files =
        signalbox::certificates::CertificateFiles { section: "tls", cert: at("cert"), key: at("key"), client_ca };
    let strict = ServedCertificate::load(&files, &[]).unwrap();
    let mut all = certificates(&edge.authority);
    all[1] = strict;
    edge.harness.certificates().set_configured(all, None);
    let without = edge.try_to_connect("b.example").and_then(|client| {
        // A client learns that it is refused after its own part of the handshake.
        client.get("https://b.example/").map_err(|error| error.to_string())
    });
    assert!(without.is_err());
    let mut known = edge.client.clone();
    known.own = Some(Arc::new(clients.issue("me")));
    let client = Http3Client::connect(&known, edge.harness.secure_address(), "b.example").unwrap();
    assert_eq!(client.get("https://b.example/").unwrap().text(), "b");
    assert_eq!(edge.connect("a.example").get("https://b.example/").unwrap().status, 421);
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on() {
    let backend = Backend::named("b");
    let edge = Edge::before(&backend, &[]);
    let before = edge.connect("a.example");
    let shown = |client: &Http3Client| {
        let chain = client.quic.peer_identity().unwrap().downcast::<Vec<rustls::pki_types::CertificateDer>>().unwrap();
        chain[0].to_vec()
    };
    edge.harness.certificates().set_configured(certificates(&edge.authority), None);
    let after = edge.connect("a.example");
    assert_ne!(shown(&before), shown(&after));
    for client in [before, after] {
        assert_eq!(client.get("https://a.example/").unwrap().text(), "b");
    }
}

#[test]
fn http_3_is_announced_over_tls_and_a_backend_announces_nothing() {
    let answer = "HTTP/1.1 200 OK\r\nalt-svc: h3=\"elsewhere:443\"\r\ncontent-length: 0\r\n\r\n";
    let backend = Backend::answering(answer);
    let mut edge = Edge::before(&backend, &[]);
    let key = edge.harness.session("old", "one");
    edge.harness.apply(key, vec![option(Target::All, "http3", "false")]);
    edge.harness.route(key, 1, "a.example", "/old", &backend.url());
    assert_eq!(edge.harness.get("a.example", "/").field("alt-svc"), None, "without TLS");
    let announced = "h3=\":8443\"; ma=86400";
    for (target, expected) in [("/", Some(announced)), ("/old", None)] {
        let mut wire = edge.client.connect(edge.harness.secure_address(), "a.example").unwrap();
        wire.send(format!("GET {target} HTTP/1.1\r\nhost: a.example\r\n\r\n"));
        assert_eq!(wire.message().unwrap().field("alt-svc"), expected, "{target}");
    }
    let response = edge.connect("a.example").get("https://a.example/").unwrap();
    assert_eq!(response.headers["alt-svc"], announced);
}

#[test]
fn a_client_that_gives_a_stream_up_ends_its_request_and_no_other() {
    let backend = Backend::hearing(|mut wire, tell| {
        let message = wire.message().unwrap();
        let waits = message.target() == "/waits";
        tell(message);
        if waits {
            assert!(wire.has_ended());
        } else {
            wire.send("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\nb");
        }
    });
    let mut edge = Edge::before(&backend, &[]);
    let key = edge.harness.session("other", "one");
    edge.harness.route(key, 1, "a.example", "/", &backend.url());
    let client = edge.connect("a.example");
    let mut stream = client.begin(Request::get("https://a.example/waits").body(()).unwrap());
    client.wait(stream.finish()).unwrap();
    backend.heard();
    stream.stop_sending(h3::error::Code::H3_REQUEST_CANCELLED);
    until("the request has ended", || edge.harness.table().in_flight(key) == 0);
    // The same in the middle of an upload.
    let mut stream = client.begin(post("https://a.example/upload").header("content-length", "9").body(()).unwrap());
    client.wait(stream.send_data(Bytes::from_static(b"half"))).unwrap();
    until("the request is under way", || edge.harness.table().in_flight(key) == 1);
    stream.stop_stream(h3::error::Code::H3_REQUEST_CANCELLED);
    until("the request has ended", || edge.harness.table().in_flight(key) == 0);
    assert_eq!(client.get("https://a.example/").unwrap().text(), "b");
}

#[test]
fn a_stream_without_a_window_is_reset_and_its_body_was_not_read_ahead() {
    let sent = Arc::new(AtomicUsize::new(0));
    let backend = large(64 << 20, &sent);
    let mut edge = Edge::with(&backend, &[], |settings| settings.window_timeout = SOON);
    let key = edge.harness.session("other", "one");
    edge.harness.route(key, 1, "a.example", "/", &backend.url());
    let client = Http3Client::with(&edge.client, edge.harness.secure_address(), "a.example", |transport| {
        transport.stream_receive_window(VarInt::from_u32(20_000));
    });
    let client = client.unwrap();
    let mut streams: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = client.begin(Request::get("https://a.example/").body(()).unwrap());
            client.wait(stream.finish()).unwrap();
            // The body is not read: no window is given back.
            client.wait(stream.recv_response()).unwrap();
            stream
        })
        .collect();
    until("all streams are reset", || edge.harness.table().in_flight(key) == 0);
    // Sockets on both sides of the proxy hold some of it.
    assert!(sent.load(Ordering::SeqCst) < 20 * (8 << 20), "{} bytes were read", sent.load(Ordering::SeqCst));
    for stream in &mut streams {
        let ended = client.wait(async {
            loop {
                match stream.recv_data().await {
                    Ok(Some(_)) => {}
                    end => return end.map(|_| ()),
                }
            }
        });
        assert!(matches!(ended, Err(StreamError::RemoteTerminate { .. })), "{ended:?}");
    }
}

#[test]
fn a_response_that_breaks_off_or_stands_still_is_reset() {
    for ends in [true, false] {
        let backend = Backend::new(move |mut wire| {
            wire.message();
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
            assert!(ends || wire.has_ended());
        });
        let edge = Edge::before(&backend, &[("stream_idle_timeout", "100ms")]);
        let response = edge.connect("a.example").get("https://a.example/");
        assert!(matches!(response, Err(StreamError::RemoteTerminate { .. })), "{response:?}");
    }
}

#[test]
fn a_head_that_does_not_come_is_given_up_and_frames_without_end_are_not_kept() {
    let backend = Backend::named("b");
    // A request that is whole must come within it, also on a busy machine.
    let edge = Edge::with(&backend, &[], |settings| settings.header_timeout = Duration::from_secs(2));
    let client = edge.connect("a.example");
    let read = |bytes: &'static [u8]| {
        client.wait(async {
            let (mut send, mut recv) = client.quic.open_bi().await.unwrap();
            send.write_all(bytes).await.unwrap();
            recv.read_to_end(1 << 20).await
        })
    };
    assert!(read(&[1, 40, 0, 0]).is_err(), "a reset");
    assert_eq!(client.get("https://a.example/").unwrap().text(), "b");
    assert!(read(&[1, 0xc0, 0, 0, 0, 0x40, 0, 0, 0, 7]).is_err());
    assert_eq!(client.closed_by_server(), Code::H3_EXCESSIVE_LOAD.value());
}

#[test]
fn a_client_address_has_its_share_of_connections() {
    let backend = Backend::hearing(|mut wire, tell| {
        tell(wire.message().unwrap());
        wire.has_ended();
    });
    let edge = Edge::with(&backend, &[], |settings| settings.address_connections_max = 2);
    let busy: Vec<_> = (0..2)
        .map(|_| {
            let client = edge.connect("a.example");
            let mut stream = client.begin(Request::get("https://a.example/").body(()).unwrap());
            client.wait(stream.finish()).unwrap();
            backend.heard();
            (client, stream)
        })
        .collect();
    assert!(edge.try_to_connect("a.example").err().unwrap().contains("refused"));
    drop(busy);
}

#[test]
fn a_stop_lets_requests_finish_and_ends_the_connection() {
    let backend = Backend::hearing(|mut wire, tell| {
        tell(wire.message().unwrap());
        std::thread::sleep(Duration::from_millis(100));
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate");
        wire.has_ended();
    });
    let mut edge = Edge::before(&backend, &[]);
    let client = edge.connect("a.example");
    let mut stream = client.begin(Request::get("https://a.example/").body(()).unwrap());
    client.wait(stream.finish()).unwrap();
    backend.heard();
    edge.harness.stop(Duration::from_secs(10));
    assert_eq!(client.finish(&mut stream).unwrap().text(), "late");
    drop(stream);
    assert_eq!(client.closed_by_server(), Code::H3_NO_ERROR.value());
}

#[test]
fn a_connection_without_streams_is_ended_in_order_after_a_while() {
    let backend = Backend::named("b");
    let edge = Edge::with(&backend, &[], |settings| settings.keep_alive = SOON);
    let client = edge.connect("a.example");
    assert_eq!(client.get("https://a.example/").unwrap().text(), "b");
    assert_eq!(client.closed_by_server(), Code::H3_NO_ERROR.value());
}

#[test]
fn every_worker_takes_its_part_of_the_connections() {
    let backend = Backend::named("b");
    let edge = Edge::with(&backend, &[], |settings| settings.workers = 3);
    for _ in 0..12 {
        assert_eq!(edge.connect("a.example").get("https://a.example/").unwrap().text(), "b");
    }
}
