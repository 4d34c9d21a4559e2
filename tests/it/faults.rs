//! Backends that misbehave: each request ends cleanly, is counted, and leaves nothing behind.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::server::{Server, eventually};
use crate::support::PATIENCE;
use crate::support::backend::Backend;
use crate::support::wire::Wire;

/// A way to misbehave, and what the client must see of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// Takes the request and says nothing.
    Mute,
    /// Says its head so slowly that it never ends.
    Drip,
    /// Says its body so slowly that it takes longer than a head may.
    Trickle,
    /// Closes within the head.
    HalfHead,
    /// Says two lengths that differ.
    TwoLengths,
    /// Says a head without end.
    EndlessHead,
    /// Says interim responses without end.
    Interim,
    /// Announces less than it sends.
    Longer,
    /// Announces more than it sends.
    Shorter,
    /// Is not HTTP at all.
    Noise,
}

const FAULTS: [Fault; 10] = [
    Fault::Mute,
    Fault::Drip,
    Fault::Trickle,
    Fault::HalfHead,
    Fault::TwoLengths,
    Fault::EndlessHead,
    Fault::Interim,
    Fault::Longer,
    Fault::Shorter,
    Fault::Noise,
];

impl Fault {
    fn of(path: &str) -> Option<Self> {
        FAULTS.into_iter().find(|fault| path == format!("/{fault:?}"))
    }

    /// The statuses that may be answered. A broken-off body shows as fewer bytes than announced.
    fn expected(self) -> &'static [u16] {
        match self {
            Fault::Mute | Fault::Drip => &[504],
            Fault::HalfHead | Fault::TwoLengths | Fault::Noise => &[502],
            // Either bound may be reached first: that of the bytes or that of the time.
            Fault::EndlessHead | Fault::Interim => &[502, 504],
            Fault::Trickle | Fault::Longer | Fault::Shorter => &[200],
        }
    }

    fn act(self, stream: &mut TcpStream) -> std::io::Result<()> {
        match self {
            Fault::Mute => {}
            Fault::Drip => {
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " {
                    stream.write_all(&[*byte])?;
                    // Nothing to wait for: being slow is the fault.
                    thread::sleep(Duration::from_millis(50));
                }
            }
            Fault::Trickle => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n")?;
                for byte in b"byte by byte" {
                    thread::sleep(Duration::from_millis(200));
                    stream.write_all(&[*byte])?;
                }
            }
            Fault::HalfHead => return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Le"),
            Fault::TwoLengths => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc")?;
            }
            Fault::EndlessHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
                let line = format!("X-More: {}\r\n", "x".repeat(8000));
                (0..1300).try_for_each(|_| stream.write_all(line.as_bytes()))?;
            }
            Fault::Interim => {
                (0..5_000).try_for_each(|_| stream.write_all(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"))?;
            }
            Fault::Longer => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdefghi")?,
            Fault::Shorter => return stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
            Fault::Noise => stream.write_all(b"220 mail.example ESMTP\r\n")?,
        }
        // Until the proxy lets go.
        stream.read_to_end(&mut Vec::new()).map(drop)
    }
}

fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::Builder::new().stack_size(128 * 1024).spawn(move || misbehave(stream)).unwrap();
        }
    });
    address
}

fn misbehave(mut stream: TcpStream) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut head = Vec::new();
    let mut reader = BufReader::new(reading);
    while !head.ends_with(b"\r\n\r\n") {
        match reader.read_until(b'\n', &mut head) {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    if let Some(fault) = Fault::of(path) {
        // The proxy may be gone before the fault is complete.
        let _ = fault.act(&mut stream);
    } else {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }
}

/// Asks once; the status, and whether the whole body came.
fn ask(proxy: SocketAddr, fault: Fault) -> (u16, bool) {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET /{fault:?} HTTP/1.1\r\nHost: faults.example\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A broken-off body may end as a reset.
    let _ = stream.read_to_end(&mut answer);
    let mut answer = &*String::from_utf8_lossy(&answer);
    while let Some((_, rest)) = answer.split_once("\r\n\r\n").filter(|(head, _)| head.starts_with("HTTP/1.1 1")) {
        answer = rest;
    }
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let announced =
        head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    (status, announced == Some(body.len()))
}

fn open_files(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", server.id())).unwrap().count()
}

fn resident_kib(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// The fault of the request of this number. Those that last until the timeout are rarer.
fn turn(number: usize) -> Fault {
    let quick = &FAULTS[3..];
    match number % 30 {
        place @ 0..3 => FAULTS[place],
        place => quick[place % quick.len()],
    }
}

/// Asks `total` times, the faults in turn, from `askers` threads.
fn storm(proxy: SocketAddr, total: usize, askers: usize) {
    let next = Arc::new(AtomicUsize::new(0));
    let askers: Vec<_> = (0..askers)
        .map(|_| {
            let next = Arc::clone(&next);
            thread::spawn(move || {
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && number < total
                {
                    let fault = turn(number);
                    let (status, whole) = ask(proxy, fault);
                    assert!(fault.expected().contains(&status), "{fault:?}: {status}");
                    assert_eq!(whole, fault != Fault::Shorter, "{fault:?}");
                }
            })
        })
        .collect();
    askers.into_iter().for_each(|asker| asker.join().expect("every answer was as it should be"));
}

#[test]
fn requests_to_backends_that_misbehave_end_cleanly_and_leave_nothing() {
    misbehaving_backends_leave_nothing(150, 450, 24);
}

#[test]
#[ignore = "storm: minutes"]
fn storm_of_ten_thousand_requests_to_backends_that_misbehave_ends_cleanly_and_leaves_nothing() {
    misbehaving_backends_leave_nothing(900, 9100, 64);
}

/// Sends `warm` requests, then `total` ones, and compares what the server holds after both.
fn misbehaving_backends_leave_nothing(warm: usize, total: usize, askers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("faults", "faults-1");
    client.ask(&format!("OPTIONS_SET|{session}|ALL|timeout|2s"));
    client.serve(&session, "faults.example", "/", backend());

    storm(server.proxy, warm, askers);
    let (files, memory) = (open_files(&server), resident_kib(&server));
    storm(server.proxy, total, askers);
    eventually("connections are let go", || open_files(&server) <= files + 8);
    let grown = resident_kib(&server).saturating_sub(memory);
    assert!(grown < 32 * 1024, "memory grew by {grown} KiB");

    let get = format!("STATS_GET|{session}|r1");
    eventually("none is in flight", || client.ask(&get).contains("\"in_flight\":0"));
    let stats = client.ask(&get);
    let count = |code: u16| -> usize {
        let mark = format!("\"{code}\":");
        let rest = stats.split(&mark).nth(1).unwrap_or("0");
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
    };
    let told: BTreeMap<u16, usize> = [200, 502, 504].map(|code| (code, count(code))).into();
    assert_eq!(told.values().sum::<usize>(), warm + total, "every request is counted once: {stats}");
}

#[test]
fn a_backend_that_misbehaves_opens_the_breaker_of_its_route() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("faults", "faults-1");
    client.ask(&format!("OPTIONS_SET|{session}|ALL|timeout|150ms"));
    client.ask(&format!("CIRCUIT_BREAKER_SET|{session}|ALL|3|1h|1"));
    let address = backend();
    let failures = [Fault::Mute, Fault::Drip, Fault::HalfHead, Fault::TwoLengths, Fault::EndlessHead, Fault::Noise];
    for fault in failures {
        client.ask(&format!("ROUTE_ADD|{session}|faults.example|/{fault:?}|http://{address}|0"));
    }
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    for (number, fault) in failures.into_iter().enumerate() {
        let status = format!("CIRCUIT_BREAKER_STATUS|{session}|r{}", number + 1);
        for _ in 0..3 {
            assert!(client.ask(&status).contains("\"state\":\"closed\""), "{fault:?}");
            assert!([502, 504].contains(&ask(server.proxy, fault).0), "{fault:?}");
        }
        assert!(client.ask(&status).contains("\"state\":\"open\""), "{fault:?}");
        assert_eq!(ask(server.proxy, fault).0, 503, "{fault:?}");
    }
}

#[test]
fn a_tunnel_holds_nothing_of_what_has_passed_through_it() {
    const TUNNELS: usize = 200;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("faults", "faults-1");
    let backend = Backend::new(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
        while let Some(bytes) = wire.exactly(12_000) {
            wire.send(bytes);
        }
    });
    client.serve(&session, "faults.example", "/", backend.address());
    let mut tunnels: Vec<_> = (0..TUNNELS).map(|_| Wire::connect(server.proxy)).collect();
    for tunnel in &mut tunnels {
        tunnel.send("GET / HTTP/1.1\r\nhost: faults.example\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n");
        assert_eq!(tunnel.head().unwrap().status(), 101);
    }
    let mut pass = || {
        for tunnel in &mut tunnels {
            tunnel.send([b'x'; 12_000]);
            assert!(tunnel.exactly(12_000).is_some());
        }
    };
    pass();
    let before = resident_kib(&server);
    (0..9).for_each(|_| pass());
    let grown = resident_kib(&server).saturating_sub(before);
    assert!(grown < 8 * 1024, "memory grew by {grown} KiB");
}
