//! A stop without an outage: streams end in order, and everybody else is served until the ports close.

use std::net::TcpStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::server::{Client, Server, eventually, get};
use crate::support::backend::Backend;
use crate::support::http2_client::{Http2Client, block, frame, next_frame, raw, until_frame};
use crate::support::proxy_harness::{ProxyHarness, until};
use crate::support::wire::Wire;

pub(super) const UPGRADE: &str =
    "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n\r\n";
const AGREE: &str =
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: v\r\n\r\n";
const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
/// Kinds of frames of HTTP/2 (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// Their flags.
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
pub(super) const GOING_AWAY: &[u8] = &[0x88, 0x02, 0x03, 0xe9];
/// The Close of a client, with a mask of zeros.
const CLOSE_OF_CLIENT: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];

/// A backend with a WebSocket, an event stream and pages. `go` lets it write the rest of what is unfinished.
pub(super) fn backend(go: mpsc::Receiver<()>) -> (Backend, mpsc::Receiver<Vec<u8>>) {
    let (told, closes) = mpsc::channel();
    let (go, told) = (Mutex::new(go), Mutex::new(told));
    let backend = Backend::new(move |mut wire| {
        while let Some(request) = wire.message() {
            match request.target() {
                "/ws" => {
                    wire.send(AGREE);
                    // A frame of five bytes, of which the last two are missing.
                    wire.send(b"\x82\x05abc");
                    let _ = go.lock().unwrap().recv();
                    wire.send(b"de\x82\x01x");
                    let close = wire.exactly(CLOSE_OF_CLIENT.len()).unwrap_or_default();
                    let _ = told.lock().unwrap().send(close);
                    return;
                }
                "/events" => {
                    wire.send(STREAM);
                    wire.send("9\r\ndata: a\n\n\r\n");
                    wire.has_ended();
                    return;
                }
                _ => wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),
            };
        }
    });
    (backend, closes)
}

fn served(server: &Server, backend: &Backend) -> (Client, String) {
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    client.serve(&session, "*", "/", backend.address());
    (client, session)
}

/// Opens the event stream of the backend and reads its first event.
fn events(server: &Server) -> Wire {
    let mut wire = Wire::connect(server.proxy);
    wire.send("GET /events HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(wire.head().unwrap().status(), 200);
    assert_eq!(wire.chunk().unwrap(), b"data: a\n\n");
    wire
}

#[test]
fn streams_end_in_order_while_every_port_serves() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--proxy-workers", "1", "--proxy-drain", "5m"]);
    let (go, wait) = mpsc::channel();
    let (backend, closes) = backend(wait);
    let (mut client, session) = served(&server, &backend);
    let mut kept = Wire::connect(server.proxy);
    kept.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(kept.message().unwrap().field("connection"), None);
    let mut stream = events(&server);
    let mut socket = Wire::connect(server.proxy);
    socket.send(UPGRADE);
    assert_eq!(socket.head().unwrap().status(), 101);
    assert_eq!(socket.exactly(5).unwrap(), b"\x82\x05abc");
    let mut watch = Wire::connect(server.api);
    watch.send("GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(watch.head().unwrap().status(), 200);

    server.signal("TERM");
    assert_eq!(stream.chunk().unwrap(), b"", "the event stream ends as a whole body");
    stream.fields().unwrap();
    assert!(stream.has_ended());
    let mut last = Vec::new();
    while let Some(chunk) = watch.chunk().filter(|chunk| !chunk.is_empty()) {
        last = chunk;
    }
    assert!(last.starts_with(b"event: end"), "{}", String::from_utf8_lossy(&last));

    // The WebSocket is in the middle of a frame: as long as it is, the server serves.
    for _ in 0..50 {
        let mut probe = Wire::connect(server.proxy);
        probe.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
        let answer = probe.message().unwrap();
        assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
        assert!(probe.has_ended());
    }
    kept.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(kept.message().unwrap().field("connection"), Some("close"), "a connection from before");
    assert_eq!(client.ask(&format!("PING|{session}")), "PONG");
    assert_eq!(get(server.api, "localhost", "/healthz").unwrap().0, 200);
    assert_eq!(get(server.api, "localhost", "/readyz").unwrap().0, 503);

    go.send(()).unwrap();
    assert_eq!(socket.exactly(2).unwrap(), b"de", "the frame is whole");
    // A tunnel that is asked only now has passed the next frame as well.
    let next = socket.exactly(3).unwrap();
    let close =
        if next == b"\x82\x01x" { socket.exactly(4).unwrap() } else { [next, socket.exactly(1).unwrap()].concat() };
    assert_eq!(close, GOING_AWAY);
    socket.send(CLOSE_OF_CLIENT);
    assert_eq!(closes.recv().unwrap(), CLOSE_OF_CLIENT, "the backend gets the client's answer");
    assert!(socket.has_ended());
    assert!(server.wait().success());
    assert_eq!(client.pushed_line(), "SHUTDOWN");
}

#[test]
fn connections_with_streams_are_told_to_go_away_and_what_crosses_that_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--proxy-workers", "1", "--proxy-drain", "5m"]);
    let (go, wait) = mpsc::channel();
    let (backend, _closes) = backend(wait);
    served(&server, &backend);
    // It holds up the stop.
    let mut socket = Wire::connect(server.proxy);
    socket.send(UPGRADE);
    assert_eq!(socket.head().unwrap().status(), 101);
    let request = |stream: u32, path: &str| {
        let fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", path)];
        frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields))
    };
    let mut wire = raw(server.proxy);
    wire.send(request(1, "/events"));
    assert!(until_frame(&mut wire, |frame| frame.kind == DATA && frame.payload == b"data: a\n\n").is_some());

    server.signal("TERM");
    let told = until_frame(&mut wire, |frame| frame.kind == GOAWAY).expect("the client is told");
    assert_eq!(told.payload[4..8], [0; 4], "no error");
    let ping = until_frame(&mut wire, |frame| frame.kind == PING).unwrap();
    wire.send(request(3, "/"));
    wire.send(frame(PING, ACK, 0, &ping.payload));
    let mut ended = Vec::new();
    while let Some(frame) = next_frame(&mut wire) {
        assert_ne!(frame.kind, RST_STREAM, "stream {}", frame.stream);
        if frame.kind == DATA && frame.flags & END_STREAM != 0 {
            ended.push(frame.stream);
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [1, 3], "the event stream ends as a whole body, and the request is answered");

    // A new connection carries its request before it is told.
    let mut next = Http2Client::connect(server.proxy);
    assert_eq!(next.get("http://a/").unwrap().status, 200);
    let mut next = raw(server.proxy);
    next.send(request(1, "/"));
    assert!(until_frame(&mut next, |frame| frame.kind == GOAWAY).is_some());
    go.send(()).unwrap();
    drop(socket);
    assert!(server.wait().success());
}

#[test]
fn a_stream_that_does_not_end_by_itself_is_ended_when_the_time_is_over() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--proxy-drain", "200ms"]);
    let (_go, wait) = mpsc::channel();
    let (backend, _closes) = backend(wait);
    served(&server, &backend);
    // In the middle of a frame; and a protocol that the proxy does not know.
    let mut sockets = [UPGRADE.to_owned(), UPGRADE.replace("websocket\r\n", "chat\r\n")].map(|upgrade| {
        let mut socket = Wire::connect(server.proxy);
        socket.send(upgrade);
        assert_eq!(socket.head().unwrap().status(), 101);
        assert_eq!(socket.exactly(5).unwrap(), b"\x82\x05abc");
        socket
    });
    server.signal("TERM");
    assert!(sockets.iter_mut().all(Wire::has_ended));
    assert!(server.wait().success());
}

#[test]
fn a_client_that_connects_and_sends_nothing_holds_up_no_stop() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut silent = Wire::connect(server.proxy);
    let mut unfinished = Wire::connect(server.proxy);
    unfinished.send("GET / HTTP/1.1\r\n");
    assert_eq!(server.get("a", "/").0, 404);
    server.signal("TERM");
    // The wires wait for ten seconds, a third of the time that a request would get.
    assert!(silent.has_ended() && unfinished.has_ended());
    assert!(server.wait().success());
}

#[test]
fn requests_in_flight_finish_while_others_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let (go, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    let backend = Backend::new(move |mut wire| {
        while let Some(request) = wire.message() {
            if request.target() == "/slow" {
                let _ = wait.lock().unwrap().recv();
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    });
    served(&server, &backend);
    let mut slow = Wire::connect(server.proxy);
    slow.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    let under_way = || get(server.api, "localhost", "/v1/instances/shop/shop-1").unwrap().1.contains("\"in_flight\":1");
    eventually("the request is under way", under_way);
    server.signal("TERM");
    eventually("the stop began", || get(server.api, "localhost", "/readyz").unwrap().0 == 503);
    for _ in 0..20 {
        assert_eq!(server.get("a", "/").0, 200);
    }
    go.send(()).unwrap();
    let answer = slow.message().unwrap();
    assert_eq!((answer.text(), answer.field("connection")), ("ok", Some("close")));
    assert!(server.wait().success());
}

#[test]
fn a_connection_that_has_just_begun_is_answered_when_the_port_closes() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::serving(&backend.url(), &[]);
    let (address, mut begun) = (harness.address(), harness.connect());
    assert_eq!(harness.get("a", "/").text(), "b", "connections are accepted in order");
    let stopping = thread::spawn(move || harness.stop(Duration::from_secs(10)));
    until("the port is closed", || TcpStream::connect(address).is_err());
    begun.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let answer = begun.message().unwrap();
    assert_eq!((answer.text(), answer.field("connection")), ("b", Some("close")));
    stopping.join().unwrap();
}
