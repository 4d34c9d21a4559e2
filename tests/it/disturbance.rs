//! An apply disturbs no other session: open connections and running requests continue.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::server::{Backend, Server};
use crate::support::PATIENCE;

/// A backend that switches protocols and sends back what it gets.
fn echo_backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
                    head.push(byte[0]);
                }
                let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
                let _ = stream.write_all(switch.as_bytes());
                let mut reading = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut reading, &mut stream);
            });
        }
    });
    address
}

fn open_tunnel(proxy: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = "GET /ws HTTP/1.1\r\nHost: ws.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    stream
}

fn echoes(stream: &mut TcpStream, word: [u8; 4]) {
    stream.write_all(&word).unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, word);
}

/// Requests on one kept connection until told to stop; every one must be answered with 200.
fn keep_asking(proxy: SocketAddr, stop: &AtomicBool, done: &AtomicUsize) {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(b"GET /load HTTP/1.1\r\nHost: load.example\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"load: GET /load HTTP/1.1") {
            let read = stream.read(&mut buffer).expect("an answer");
            assert!(read > 0, "the connection was closed");
            answer.extend_from_slice(&buffer[..read]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200"));
        done.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn applies_of_one_session_disturb_no_other() {
    applies_disturb_no_other_session(50);
}

#[test]
#[ignore = "storm: minutes"]
fn storm_of_a_thousand_applies_of_one_session_disturbs_no_other() {
    applies_disturb_no_other_session(1000);
}

fn applies_disturb_no_other_session(applies: usize) {
    let load = Backend::start("load");
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let steady = client.register("steady", "steady-1");
    client.serve(&steady, "ws.example", "/", echo_backend());
    client.serve(&steady, "load.example", "/", load.address);
    let mut tunnels: Vec<TcpStream> = (0..100).map(|_| open_tunnel(server.proxy)).collect();

    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let (proxy, stop, done) = (server.proxy, Arc::clone(&stop), Arc::clone(&done));
            thread::spawn(move || keep_asking(proxy, &stop, &done))
        })
        .collect();

    let mut changing = server.connect();
    let busy = changing.register("busy", "busy-1");
    changing.serve(&busy, "load.example", "/elsewhere", load.address);
    for round in 0..applies {
        let value = if round % 2 == 0 { "/elsewhere" } else { "/load/other" };
        changing.ask(&format!("ROUTE_UPDATE|{busy}|r1|path|{value}"));
        changing.ask(&format!("HEADERS_SET|{busy}|ALL|X-Round|{round}"));
        assert_eq!(changing.ask(&format!("CONFIG_APPLY|{busy}")), "OK");
        if round % 10 == 0 {
            tunnels.iter_mut().for_each(|tunnel| echoes(tunnel, *b"ping"));
        }
    }
    stop.store(true, Ordering::Relaxed);
    askers.into_iter().for_each(|asker| asker.join().expect("no request failed"));
    assert!(done.load(Ordering::Relaxed) > 100, "there was a load");
    tunnels.iter_mut().for_each(|tunnel| echoes(tunnel, *b"last"));
    let info = changing.ask(&format!("SESSION_INFO|{busy}"));
    assert!(info.contains(&format!("\"revision\":{}", applies + 1)), "{info}");
}
