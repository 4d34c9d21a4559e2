//! HTTP/2 on the API port, by hand: peers that read nothing, and floods of control frames.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::server::{Server, get};
use crate::support::PATIENCE;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

/// One end of a connection.
pub struct Peer(TcpStream);

impl Peer {
    /// Connects; each stream has `window` bytes to begin with.
    pub fn connect(address: SocketAddr, window: u32) -> Self {
        Self::over(TcpStream::connect(address).unwrap(), window)
    }

    /// The same, over a connection that is there.
    pub fn over(stream: TcpStream, window: u32) -> Self {
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut peer = Self(stream);
        peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        peer.send(&frame(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat()));
        peer
    }

    /// Sends bytes. Returns true if the other side still took them.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    pub fn into_stream(self) -> TcpStream {
        self.0
    }

    /// Reads until the answer on a stream has begun. False if the connection ends before.
    pub fn is_answered(&mut self, stream: u32) -> bool {
        std::iter::from_fn(|| self.next()).any(|(kind, _, of, _)| kind == HEADERS && of == stream)
    }

    /// Reads to the end of the connection. True if it was told to end (RFC 9113 §6.8).
    pub fn was_told_to_go(&mut self) -> bool {
        std::iter::from_fn(|| self.next()).fold(false, |told, (kind, ..)| told || kind == GOAWAY)
    }

    /// The next frame: kind, flags, stream and payload; `None` when the connection has ended.
    pub fn next(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        Some((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The answer to a PING.
pub fn pong(payload: &[u8]) -> Vec<u8> {
    frame(PING, 1, 0, payload)
}

/// Lets the other side send so many bytes more; of all streams together if `stream` is 0.
pub fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// A GET, whole.
pub fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, 0x5, stream, &block(0x82, path))
}

/// A POST whose body is to follow.
pub fn upload(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, 0x4, stream, &block(0x83, path))
}

/// The fields of a request, its method by number (RFC 7541, appendix A).
fn block(method: u8, path: &str) -> Vec<u8> {
    let text = |index: u8, value: &str| [&[index, u8::try_from(value.len()).unwrap()][..], value.as_bytes()].concat();
    [&[method, 0x86][..], &text(0x04, path), &text(0x01, "localhost")].concat()
}

fn server() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--limits-memory", "64MiB"]);
    (folder, server)
}

#[test]
fn control_frames_without_end_close_their_connection_and_nobody_else_s() {
    let (_folder, server) = server();
    let floods = [
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown", frame(0xee, 0, 0, &[0; 4])),
    ];
    for (name, flood) in floods {
        let mut peer = Peer::connect(server.api, 65_535);
        let mut reader = peer.0.try_clone().unwrap();
        let reading = std::thread::spawn(move || while reader.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {});
        let end = Instant::now() + PATIENCE;
        while peer.send(&flood.repeat(200)) {
            assert!(Instant::now() < end, "{name} goes on");
        }
        reading.join().unwrap();
        assert_eq!(get(server.api, "localhost", "/healthz").unwrap().0, 200);
    }
}

#[test]
fn a_connection_has_more_than_256_streams() {
    let (_folder, server) = server();
    let mut peer = Peer::connect(server.api, 0);
    for at in 0..600 {
        peer.send(&request(2 * at + 1, "/openapi.json"));
    }
    let mut statuses = HashMap::new();
    while statuses.len() < 600 {
        let (kind, _, stream, payload) = peer.next().expect("the connection holds");
        assert_ne!(kind, RST_STREAM, "no stream is refused");
        if kind == HEADERS {
            statuses.insert(stream, payload.first().copied());
        }
    }
    assert!(statuses.values().all(|status| *status == Some(0x88)), "all are 200");
}
