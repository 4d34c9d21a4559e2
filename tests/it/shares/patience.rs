//! Clients of the API port that read nothing, send nothing, or are gone: little is held for them, and not for long.
//!
//! The port runs in this process, with short times, and leads to answers that count what was asked of them.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use futures_util::stream;
use signalbox::api_listener::{ApiBounds, ApiServices, ClientTimeouts};
use signalbox::connection_limits::{ConnectionLimits, PortConnections};
use signalbox::lifecycle::Lifecycle;
use signalbox::memory_budget::MemoryBudget;

use super::http2::{DATA, HEADERS, PING, Peer, RST_STREAM, frame, pong, request, upload, window_update};
use crate::server::eventually;
use crate::support::PATIENCE;

/// Bytes of a piece of an endless answer: so little of each is held beside what the port counts.
const PIECE: usize = 1024;
/// The most that the sockets of both sides hold, with the buffers that [`Api`] and [`narrow`] ask for.
const SOCKETS: usize = 128 * 1024;

/// An API port.
struct Api {
    address: SocketAddr,
    /// Bytes that were asked of endless answers.
    produced: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

impl Api {
    fn start(timeouts: ClientTimeouts) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let _inside = runtime.enter();
        let produced = Arc::new(AtomicUsize::new(0));
        let counting = Arc::clone(&produced);
        let endless = move || {
            let pieces = stream::repeat_with(move || {
                counting.fetch_add(PIECE, Ordering::SeqCst);
                Ok::<_, Infallible>(Bytes::from_static(&[b'x'; PIECE]))
            });
            std::future::ready(Body::from_stream(pieces))
        };
        let rest = Router::new()
            .route("/small", get(async || "ok"))
            .route("/large", get(async || vec![b'x'; 16 * 1024 * 1024]))
            .route("/silent", get(async || Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())))
            .route("/upload", post(async |body: Bytes| body.len().to_string()))
            .route("/endless", get(endless));
        let interfaces = ApiServices {
            is_grpc: signalbox::grpc::is_call,
            grpc: Router::new(),
            rest,
            hosts: signalbox::operator_auth::AllowedHosts::default(),
            trusted_proxies: Vec::new(),
            refuse_grpc: signalbox::grpc::refuse,
            refuse_rest: signalbox::rest::refuse,
        };
        let connections = PortConnections::new(ConnectionLimits { all: 100, of_origin: 100 }, Vec::new());
        let bounds = ApiBounds { connections, memory: MemoryBudget::default(), timeouts };
        // Accepted connections have the buffer size of the listener.
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(16 * 1024).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(100).unwrap();
        let address = listener.local_addr().unwrap();
        let interfaces = Arc::new(arc_swap::ArcSwap::from_pointee(interfaces));
        runtime.spawn(signalbox::api_listener::serve(listener, None, interfaces, bounds, Lifecycle::new()));
        Self { address, produced, _runtime: runtime }
    }

    /// Waits until no more is asked of endless answers; returns how much was.
    fn produced(&self) -> usize {
        let (mut last, mut looks) = (0, 0);
        eventually("nothing more is taken", || {
            let now = self.produced.load(Ordering::SeqCst);
            (looks, last) = if now > 0 && now == last { (looks + 1, now) } else { (0, now) };
            looks == 40
        });
        last
    }
}

/// A connection that holds little that was not read.
fn narrow(to: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(16 * 1024).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

/// Nothing ends for want of patience.
fn patient() -> ClientTimeouts {
    let [head, stall, silence, pong] = [Duration::from_hours(1); 4];
    ClientTimeouts { head, stall, silence, pong }
}

const SOON: Duration = Duration::from_millis(300);

#[test]
fn unread_bytes_of_one_stream_are_64_kib_at_most() {
    let api = Api::start(patient());
    let mut peer = Peer::over(narrow(api.address), 1 << 30);
    peer.send(&window_update(0, 1 << 30));
    peer.send(&request(1, "/endless"));
    let produced = api.produced();
    assert!(produced <= 64 * 1024 + SOCKETS, "{produced}");
}

#[test]
fn unread_bytes_of_all_streams_of_a_connection_are_1_mib_at_most() {
    const STREAMS: u32 = 64;
    // Large windows for all and nothing is read; large ones for each and none for the connection; none for any.
    for (stream, connection) in [(1 << 30, 1 << 30), (1 << 30, 0), (0, 1 << 30)] {
        let api = Api::start(patient());
        let mut peer = Peer::over(narrow(api.address), stream);
        if connection > 0 {
            peer.send(&window_update(0, connection));
        }
        for at in 0..STREAMS {
            peer.send(&request(2 * at + 1, "/endless"));
        }
        // The first piece of each is there before the client is asked for room.
        let begun = STREAMS as usize * 2 * PIECE;
        let produced = api.produced();
        assert!(produced <= 1024 * 1024 + SOCKETS + begun, "{produced} with windows of {stream} and {connection}");
        let mut other = Peer::connect(api.address, 65_535);
        other.send(&request(1, "/small"));
        assert!(other.is_answered(1), "another is served meanwhile");
    }
}

#[test]
fn a_stream_whose_client_takes_nothing_is_reset_and_others_go_on() {
    let api = Api::start(ClientTimeouts { stall: SOON, ..patient() });
    for path in ["/large", "/endless"] {
        let mut peer = Peer::connect(api.address, 0);
        // One without anything to take is left alone, however long it is silent.
        peer.send(&request(1, "/silent"));
        assert!(peer.is_answered(1));
        peer.send(&request(3, path));
        let (mut asked, mut answered) = (5, 0);
        loop {
            let (kind, _, stream, payload) = peer.next().expect("the connection holds");
            match kind {
                RST_STREAM => {
                    assert_eq!(stream, 3, "{path}");
                    break;
                }
                DATA => assert!(stream != 3 || payload.is_empty(), "there is no window"),
                // Not without end: so many updates of windows would be a flood.
                HEADERS if answered < 40 => {
                    answered += 1;
                    peer.send(&[request(asked, "/small"), window_update(asked, 1000)].concat());
                    asked += 2;
                }
                _ => {}
            }
        }
        assert!(answered > 0);
        peer.send(&request(asked, "/small"));
        assert!(peer.is_answered(asked), "the connection goes on");
    }
}

#[test]
fn a_stream_whose_client_stops_in_its_body_is_reset_and_others_go_on() {
    let api = Api::start(ClientTimeouts { stall: SOON, ..patient() });
    let begun: [&[u8]; 3] = [b"", b"x", &[b'x'; 8000]];
    for body in begun {
        let mut peer = Peer::connect(api.address, 65_535);
        peer.send(&request(1, "/silent"));
        assert!(peer.is_answered(1));
        let data = if body.is_empty() { Vec::new() } else { frame(DATA, 0, 3, body) };
        peer.send(&[upload(3, "/upload"), data].concat());
        let reset = std::iter::from_fn(|| peer.next()).find(|(kind, ..)| [RST_STREAM, HEADERS].contains(kind));
        let (kind, _, stream, _) = reset.expect("the connection holds");
        assert_eq!((kind, stream), (RST_STREAM, 3), "after {} bytes", body.len());
        peer.send(&[upload(5, "/upload"), frame(DATA, 1, 5, b"whole")].concat());
        assert!(peer.is_answered(5), "one that is sent whole is answered");
    }
}

#[test]
fn a_connection_whose_client_reads_nothing_is_closed() {
    let api = Api::start(ClientTimeouts { stall: SOON, ..patient() });
    for path in ["/large", "/endless"] {
        let mut http1 = narrow(api.address);
        http1.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).unwrap();
        let mut http2 = Peer::over(narrow(api.address), 1 << 30);
        http2.send(&[window_update(0, 1 << 30), request(1, path)].concat());
        for (name, mut stream) in [("HTTP/1.1", http1), ("HTTP/2", http2.into_stream())] {
            // Writing shows that it is closed; what was not read stays unread.
            eventually(&format!("{name} {path} is closed"), || {
                let closed = stream.write_all(b"\0").is_err();
                std::thread::sleep(Duration::from_millis(10));
                closed
            });
        }
    }
}

#[test]
fn a_connection_without_a_whole_head_is_closed_whatever_it_has_begun() {
    let api = Api::start(ClientTimeouts { head: SOON, ..patient() });
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let settings = [&preface[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let half = request(1, "/small");
    let half_headers = [&settings[..], &half[..half.len() - 3]].concat();
    let served = b"GET /small HTTP/1.1\r\nhost: localhost\r\n\r\nGET /sm";
    let begins: [&[u8]; 8] =
        [b"", b"PRI * HT", preface, &settings, &half_headers, b"GET / HT", b"GET / HTTP/1.1\r\nx: ", served];
    for begin in begins {
        let mut stream = TcpStream::connect(api.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(begin).unwrap();
        let ended = stream.read_to_end(&mut Vec::new());
        assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "{begin:?} is never closed");
    }
}

#[test]
fn a_peer_that_does_not_say_that_it_is_there_is_gone_and_one_that_does_stays() {
    let api = Api::start(ClientTimeouts { silence: SOON, pong: SOON, ..patient() });
    let mut dead = Peer::connect(api.address, 65_535);
    let mut alive = Peer::connect(api.address, 65_535);
    for peer in [&mut dead, &mut alive] {
        peer.send(&request(1, "/silent"));
        assert!(peer.is_answered(1));
    }
    let reading = std::thread::spawn(move || while dead.next().is_some() {});
    let end = Instant::now() + PATIENCE;
    while !reading.is_finished() {
        assert!(Instant::now() < end, "who does not answer is never closed");
        let (kind, flags, _, payload) = alive.next().expect("who answers stays");
        if kind == PING && flags & 1 == 0 {
            alive.send(&pong(&payload));
        }
    }
    alive.send(&request(3, "/small"));
    assert!(alive.is_answered(3));
}
