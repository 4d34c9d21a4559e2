//! Memory that peers make the server hold: unfinished lines, bodies and heads, unread answers, streams without window.
//!
//! Each flood runs small in every test run, and at full size with
//! `cargo test --test it shares::memory::storm -- --ignored --nocapture --test-threads 1`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::connect_from;
use super::http2::{Peer, request};
use crate::server::{Backend, Client, Server, eventually, get_over};
use crate::support::PATIENCE;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Opens so many connections and gives those that it holds.
type Flood = fn(&Server, usize) -> Vec<TcpStream>;

/// A server with a budget, and what the quiet peer needs.
struct Stage {
    server: Server,
    _folder: tempfile::TempDir,
    host: &'static str,
    session: String,
    budget: usize,
}

impl Stage {
    fn new(budget: &str, bytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start_with(folder.path(), &["--limits-memory", budget, "--proxy-workers", "2"]);
        let mut client = server.connect();
        let session = client.register("shop", "shop-1");
        client.serve(&session, "quiet.example", "/", Backend::start("quiet").address);
        Self { server, _folder: folder, host: "quiet.example", session, budget: bytes }
    }

    fn resident(&self) -> usize {
        let status = std::fs::read_to_string(Path::new("/proc").join(self.server.id().to_string()).join("status"));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().trim().parse::<usize>().unwrap() * KIB
    }

    /// Asks a little at each interface until told to stop, on connections that are kept and on new ones; gives the longest
    /// time that anything took. It comes from another address than the floods, whose share may be used up.
    fn quiet_peer(&self, stop: &Arc<AtomicBool>) -> JoinHandle<Duration> {
        let (stop, pipe, api, proxy) = (Arc::clone(stop), self.server.pipe, self.server.api, self.server.proxy);
        let (host, session) = (self.host, self.session.clone());
        thread::spawn(move || {
            let mut longest = Duration::ZERO;
            let get = |port, host, path| get_over(connect_from(2, port), host, path).unwrap().0;
            let mut client = Client::over(connect_from(2, pipe)).unwrap();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                assert_eq!(client.ask(&format!("PING|{session}")), "PONG");
                assert_eq!(get(api, "localhost", "/healthz"), 200);
                assert_eq!(get(proxy, host, "/"), 200);
                longest = longest.max(began.elapsed());
                thread::sleep(Duration::from_millis(5));
            }
            longest
        })
    }

    /// Runs a flood beside the quiet peer: memory stays within bounds, the quiet peer is served, and what was taken is given back.
    fn endure(&self, name: &str, flood: impl FnOnce(&Server) -> Vec<TcpStream> + Send) {
        let stop = Arc::new(AtomicBool::new(false));
        let calm = self.quiet_peer(&stop);
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        let calm = calm.join().unwrap();
        let before = self.resident();
        stop.store(false, Ordering::Relaxed);
        let quiet = self.quiet_peer(&stop);
        let mut peak = before;
        let held = thread::scope(|scope| {
            let flooding = scope.spawn(|| flood(&self.server));
            while !flooding.is_finished() {
                peak = peak.max(self.resident());
                thread::sleep(Duration::from_millis(10));
            }
            flooding.join().unwrap()
        });
        for _ in 0..50 {
            peak = peak.max(self.resident());
            thread::sleep(Duration::from_millis(10));
        }
        let count = held.len();
        drop(held);
        let began = Instant::now();
        while self.resident() > 2 * before && began.elapsed() < Duration::from_secs(20) {
            thread::sleep(Duration::from_millis(20));
        }
        let after = self.resident();
        stop.store(true, Ordering::Relaxed);
        let latency = quiet.join().unwrap();
        println!(
            "{name}: {count} held; resident {} MiB before, {} MiB peak, {} MiB {:?} after; quiet peer {calm:?} before, {latency:?} during",
            before / MIB,
            peak / MIB,
            after / MIB,
            began.elapsed()
        );
        // Tasks, sockets and what the allocator rounds up come on top of the budget.
        assert!(peak < before + 2 * self.budget, "{name}: {} MiB at the peak", peak / MIB);
        assert!(after <= 2 * before, "{name}: {} MiB of {} MiB stay", after / MIB, before / MIB);
    }
}

/// Opens `count` connections that each send `bytes` and no more, all at the same time; gives those that live.
fn unfinished(address: SocketAddr, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let mut open: Vec<(TcpStream, usize)> = Vec::new();
    let end = Instant::now() + Duration::from_mins(1);
    while Instant::now() < end {
        for _ in 0..100.min(count - open.len()) {
            let stream = TcpStream::connect(address).unwrap();
            stream.set_nonblocking(true).unwrap();
            open.push((stream, 0));
        }
        let mut moved = open.len() < count;
        for (stream, sent) in open.iter_mut().filter(|(_, sent)| *sent < bytes.len()) {
            match stream.write(&bytes[*sent..bytes.len().min(*sent + 64 * KIB)]) {
                Ok(written) => *sent += written,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => *sent = usize::MAX,
            }
            moved |= *sent < bytes.len();
        }
        if !moved {
            break;
        }
    }
    open.into_iter().map(|(stream, _)| stream).collect()
}

fn lines(server: &Server, count: usize) -> Vec<TcpStream> {
    unfinished(server.pipe, count, &vec![b'x'; MIB - 1])
}

fn bodies(server: &Server, count: usize) -> Vec<TcpStream> {
    let head = format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {MIB}\r\n\r\n"
    );
    unfinished(server.api, count, &[head.as_bytes(), &vec![b' '; MIB - 1]].concat())
}

fn heads(server: &Server, count: usize) -> Vec<TcpStream> {
    let head = "GET / HTTP/1.1\r\nhost: quiet.example\r\nx: ";
    unfinished(server.proxy, count, &[head.as_bytes(), &vec![b'x'; 60 * KIB]].concat())
}

fn slow_readers(server: &Server, count: usize) -> Vec<TcpStream> {
    let address = big_backend();
    let mut client = server.connect();
    let session = client.register("big", "big-1");
    assert_eq!(client.ask(&format!("OPTIONS_SET|{session}|ALL|compression|true")), "OPTIONS_OK");
    client.serve(&session, "big.example", "/", address);
    let ask = |coding: &str| format!("GET / HTTP/1.1\r\nhost: big.example\r\naccept-encoding: {coding}\r\n\r\n");
    let codings = ["br", "zstd", "gzip"];
    let mut open = Vec::new();
    for at in 0..count {
        let mut stream = TcpStream::connect(server.proxy).unwrap();
        let _ = stream.write_all(ask(codings[at % 3]).as_bytes());
        open.push(stream);
    }
    thread::sleep(Duration::from_secs(1));
    open
}

/// Answers every request with much text that hardly gets smaller.
fn big_backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut seed = 1_u64;
    let text: Arc<Vec<u8>> = Arc::new(
        (0..4 * MIB)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                b' ' + u8::try_from(seed >> 57).unwrap() % 90
            })
            .collect(),
    );
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let text = Arc::clone(&text);
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let length = 8 * text.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n");
                let _ = stream.write_all(head.as_bytes());
                for _ in 0..8 {
                    let _ = stream.write_all(&text);
                }
            });
        }
    });
    address
}

fn no_window(server: &Server, count: usize) -> Vec<TcpStream> {
    let paths = ["/openapi.json", "/docs/swagger-ui-bundle.js"];
    (0..count)
        .map(|_| {
            let mut peer = Peer::connect(server.api, 0);
            for at in 0..1000_u32 {
                peer.send(&request(2 * at + 1, paths[at as usize % 2]));
            }
            peer.into_stream()
        })
        .collect()
}

#[test]
fn unfinished_lines_share_one_budget() {
    Stage::new("32MiB", 32 * MIB).endure("lines", |server| lines(server, 400));
}

#[test]
fn unfinished_bodies_share_one_budget() {
    Stage::new("32MiB", 32 * MIB).endure("bodies", |server| bodies(server, 400));
}

#[test]
fn unfinished_heads_share_one_budget() {
    Stage::new("32MiB", 32 * MIB).endure("heads", |server| heads(server, 1600));
}

#[test]
fn unread_answers_share_one_budget() {
    Stage::new("32MiB", 32 * MIB).endure("slow readers", |server| slow_readers(server, 200));
}

#[test]
fn streams_without_window_share_one_budget() {
    Stage::new("32MiB", 32 * MIB).endure("no window", |server| no_window(server, 10));
}

#[test]
fn a_peer_that_finds_no_memory_is_told_so() {
    let stage = Stage::new("1MiB", MIB);
    let fillers = unfinished(stage.server.pipe, 4, &vec![b'x'; 700 * KIB]);
    let mut line = String::new();
    let told = fillers.iter().any(|stream| {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        line.clear();
        let mut bytes = [0; 512];
        let count = (&*stream).read(&mut bytes).unwrap_or(0);
        line.push_str(&String::from_utf8_lossy(&bytes[..count]));
        line.starts_with("ERROR|")
    });
    assert!(told && line.contains("limits.memory"), "{line}");
    let told = |bytes: usize| {
        let head = format!(
            "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {bytes}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(stage.server.api).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(&[head.as_bytes(), &vec![b'x'; bytes]].concat());
        let mut answer = [0; 64];
        let count = stream.read(&mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer[..count]).into_owned()
    };
    assert!(told(600 * KIB).starts_with("HTTP/1.1 503"));
    drop(fillers);
    eventually("there is memory again", || told(200 * KIB).starts_with("HTTP/1.1 400"));
    assert_eq!(stage.server.get(stage.host, "/").0, 200);
}

#[test]
#[ignore = "storm: minutes, and thousands of sockets"]
fn storm_of_floods_at_full_size() {
    let floods: [(&str, Flood, usize); 5] = [
        ("10,000 unfinished lines", lines, 10_000),
        ("10,000 unfinished bodies", bodies, 10_000),
        ("15,000 unfinished heads", heads, 15_000),
        ("1,000 slow readers of compressed answers", slow_readers, 1_000),
        ("100 connections without window", no_window, 100),
    ];
    for (name, flood, count) in floods {
        Stage::new("256MiB", 256 * MIB).endure(name, |server| flood(server, count));
    }
}
