//! The bytes that wait in the proxy for a client with many streams that takes nothing.

use std::future::poll_fn;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, thread};

use bytes::Bytes;
use http::{Method, Request};

use crate::support::http2::Http2Backend;
use crate::support::http2_client::Http2Client;
use crate::support::proxy_harness::{ProxyHarness, until};

/// The streams of one connection.
const STREAMS: usize = 100;
/// The bytes of each body for a client that takes them.
const BODY_BYTES: usize = 100_000;
/// The bytes of all backends together that may wait in the proxy.
const WAITING_MAX: usize = 656 * 1024;

/// Begins a request on each stream of a connection, and gives no window for their bodies. Returns once all have their heads.
fn ask_without_window(client: &mut Http2Client, method: &Method) -> Vec<h2::RecvStream> {
    let asked: Vec<_> = (0..STREAMS)
        .map(|_| {
            let has_body = method == Method::POST;
            let request = Request::builder().method(method).uri("http://a/large").body(()).unwrap();
            let (response, mut body) = client.begin(request, !has_body);
            if has_body {
                body.send_data(Bytes::from_static(b"some"), true).unwrap();
            }
            response
        })
        .collect();
    asked.into_iter().map(|response| client.wait(response).unwrap().into_body()).collect()
}

fn without_window(address: SocketAddr) -> Http2Client {
    Http2Client::with(address, |builder| {
        builder.initial_window_size(0);
    })
}

/// The streams of this client do not wait for each other.
fn with_room(address: SocketAddr) -> Http2Client {
    Http2Client::with(address, |builder| {
        builder.initial_connection_window_size(64 << 20);
    })
}

/// Waits until a number is at least `least` and stays the same, and returns it.
fn settled(least: usize, mut number: impl FnMut() -> usize) -> usize {
    let mut before = usize::MAX;
    until("the backends are held up", || {
        thread::sleep(Duration::from_millis(100));
        let now = number();
        std::mem::replace(&mut before, now) == now && now >= least
    });
    before
}

#[test]
fn backends_of_http2_send_little_ahead_of_a_client_that_takes_nothing_of_many_streams() {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let backend = Http2Backend::new(move |mut exchange| {
        let counted = Arc::clone(&counted);
        async move {
            let is_large = exchange.request.uri().path() == "/large";
            let mut stream = exchange.head(200, &[]);
            let mut left = if is_large { 1 << 20 } else { BODY_BYTES };
            while left > 0 {
                stream.reserve_capacity(left);
                let Some(Ok(room)) = poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
                let part = room.min(left);
                counted.fetch_add(if is_large { part } else { 0 }, Ordering::SeqCst);
                left -= part;
                stream.send_data(Bytes::from(vec![7; part]), left == 0).unwrap();
            }
        }
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut client = without_window(harness.address());
    let bodies = ask_without_window(&mut client, &Method::GET);
    let waiting = settled(STREAMS * 1024, || sent.load(Ordering::SeqCst));
    assert!(waiting <= WAITING_MAX, "{waiting} bytes wait");
    drop(bodies);
    // A crowd that takes its bodies gets them whole.
    let mut client = with_room(harness.address());
    let asked: Vec<_> =
        (0..STREAMS).map(|_| client.begin(Request::get("http://a/").body(()).unwrap(), true).0).collect();
    for response in asked {
        assert_eq!(client.finish(response).unwrap().body.len(), BODY_BYTES);
    }
}

/// A backend of HTTP/1.1 that sends `length` bytes after each head, which it counts, and never waits.
fn counting_backend(length: usize, sent: &Arc<AtomicUsize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, sent) = (listener.local_addr().unwrap(), Arc::clone(sent));
    thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            let sent = Arc::clone(&sent);
            thread::spawn(move || {
                let mut head = [0; 16 * 1024];
                while let Some(read) = socket.read(&mut head).ok().filter(|read| *read > 0) {
                    if !head[..read].starts_with(b"GET") && !head[..read].starts_with(b"POST") {
                        // A body that came by itself.
                        continue;
                    }
                    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                    socket.set_nonblocking(true).unwrap();
                    let mut left = [answer.into_bytes(), vec![7; length]].concat();
                    while !left.is_empty() {
                        match socket.write(&left) {
                            Ok(written) => {
                                sent.fetch_add(written, Ordering::SeqCst);
                                left.drain(..written);
                            }
                            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                                thread::sleep(Duration::from_millis(5));
                            }
                            Err(_) => return,
                        }
                    }
                    socket.set_nonblocking(false).unwrap();
                }
            });
        }
    });
    address
}

/// Returns the bytes that wait in sockets whose own port or peer's port this is, as the system tells it.
fn waiting_in_sockets(port: u16) -> usize {
    let number = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let port_of = |address: &str| number(address.rsplit(':').next().unwrap());
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let sockets = table.lines().skip(1).map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    let waiting = sockets.filter_map(|columns| {
        let (to_send, to_read) = columns[4].split_once(':')?;
        let is_listening = columns[3] == "0A";
        let bytes = match (port_of(columns[1]), port_of(columns[2])) {
            (own, _) if own == usize::from(port) => number(to_send),
            (_, peer) if peer == usize::from(port) => number(to_read),
            _ => 0,
        };
        Some(if is_listening { 0 } else { bytes })
    });
    waiting.sum()
}

#[test]
fn bodies_of_http1_are_not_read_ahead_of_a_client_that_takes_nothing_of_many_streams() {
    for method in [Method::GET, Method::POST] {
        let sent = Arc::new(AtomicUsize::new(0));
        let backend = counting_backend(1 << 20, &sent);
        let harness = ProxyHarness::serving(&format!("http://{backend}"), &[]);
        // The connections to the backend are used again; their buffers have grown meanwhile.
        let mut other = with_room(harness.address());
        let asked: Vec<_> = (0..20).map(|_| other.begin(Request::get("http://a/").body(()).unwrap(), true).0).collect();
        for response in asked {
            assert_eq!(other.finish(response).unwrap().body.len(), 1 << 20);
        }
        let before = sent.load(Ordering::SeqCst);
        let mut client = without_window(harness.address());
        let bodies = ask_without_window(&mut client, &method);
        let taken = settled(1, || {
            let waiting = waiting_in_sockets(backend.port());
            (sent.load(Ordering::SeqCst) - before).saturating_sub(waiting)
        });
        assert!(taken <= WAITING_MAX + STREAMS * 100, "{method}: {taken} bytes wait");
        drop(bodies);
    }
}
