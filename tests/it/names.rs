//! Backends that are given by name.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::server::{Server, eventually};

#[test]
fn a_connection_to_a_name_is_renewed_however_busy_it_is() {
    let backend = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = backend.local_addr().unwrap().port();
    let carried = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&carried);
    thread::spawn(move || {
        for stream in backend.incoming().flatten() {
            let count = Arc::clone(&count);
            thread::spawn(move || answer(stream, &count));
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--proxy-workers", "1"]);
    let mut client = server.connect();
    let session = client.register("named", "named-1");
    client.ask(&format!("ROUTE_ADD|{session}|named.example|/|http://localhost:{port}|0"));
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    // A second connection that carries requests shows that the name was asked for again: the first was never broken.
    eventually("another connection carries requests", || {
        assert_eq!(server.get("named.example", "/").0, 200);
        carried.load(Ordering::SeqCst) >= 2
    });
}

/// Answers requests until the connection ends, and counts it if it carried one for a route's client.
fn answer(mut stream: TcpStream, carried: &AtomicUsize) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut counted = false;
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        if !counted && head.to_ascii_lowercase().contains("host: named.example") {
            carried.fetch_add(1, Ordering::SeqCst);
            counted = true;
        }
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}
