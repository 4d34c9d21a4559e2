//! `STATS_GET` tells what happened.

use std::net::SocketAddr;
use std::thread;

use crate::server::{Client, Server, eventually};
use crate::support::backend::Backend;
use crate::support::wire::Wire;

/// A backend that answers with the status that the path names.
fn backend() -> SocketAddr {
    let backend = Backend::new(|mut wire| {
        while let Some(request) = wire.message() {
            let status = request.target().trim_start_matches('/');
            wire.send(format!("HTTP/1.1 {status} Told\r\nContent-Length: 10\r\n\r\n0123456789"));
        }
    });
    backend.address()
}

/// Sends so many requests over one kept connection, one in five a 404, one in ten a 500.
fn send(proxy: SocketAddr, count: usize) {
    let mut wire = Wire::connect(proxy);
    for number in 0..count {
        let status = match number % 10 {
            0 => 500,
            1 | 2 => 404,
            _ => 200,
        };
        wire.send(format!("GET /{status} HTTP/1.1\r\nHost: stats.example\r\n\r\n"));
        assert_eq!(wire.message().unwrap().status(), status);
    }
}

fn said<T: std::str::FromStr>(stats: &str, key: &str) -> T {
    let rest = stats.split(&format!("\"{key}\":")).nth(1).unwrap_or_else(|| panic!("{key} in {stats}"));
    rest.split([',', '}']).next().unwrap().parse().ok().unwrap_or_else(|| panic!("{key} in {stats}"))
}

fn count(stats: &str, key: &str) -> usize {
    said(stats, key)
}

fn stats(client: &mut Client, session: &str) -> String {
    client.ask(&format!("STATS_GET|{session}|r1"))
}

#[test]
fn every_request_is_counted_once_by_whichever_worker_carried_it() {
    const CONNECTIONS: usize = 16;
    const EACH: usize = 100;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start_with(folder.path(), &["--proxy-workers", "2"]);
    let mut client = server.connect();
    let session = client.register("stats", "stats-1");
    client.serve(&session, "stats.example", "/", backend());
    let proxy = server.proxy;
    let senders: Vec<_> = (0..CONNECTIONS).map(|_| thread::spawn(move || send(proxy, EACH))).collect();
    senders.into_iter().for_each(|sender| sender.join().unwrap());

    let total = CONNECTIONS * EACH;
    // A request is counted when its last byte is on its way, which the client may see first.
    eventually("all are counted", || count(&stats(&mut client, &session), "requests") == total);
    let told = stats(&mut client, &session);
    let counts = ["errors", "200", "404", "500", "bytes_sent", "in_flight"].map(|key| count(&told, key));
    assert_eq!(counts, [total / 10, total * 7 / 10, total / 5, total / 10, total * 10, 0], "{told}");
    let latencies = ["p50_latency_ms", "p95_latency_ms", "p99_latency_ms"].map(|key| said::<f64>(&told, key));
    assert!(latencies[0] > 0.0 && latencies.is_sorted() && said::<f64>(&told, "avg_latency_ms") > 0.0, "{told}");
}

#[test]
fn numbers_stay_over_applies_that_leave_the_route_in_place_and_begin_anew_with_its_backend() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let mut client = server.connect();
    let session = client.register("stats", "stats-1");
    client.serve(&session, "stats.example", "/", backend());
    send(server.proxy, 10);
    client.ask(&format!("HEADERS_SET|{session}|ALL|X-A|1"));
    client.serve(&session, "other.example", "/", backend());
    eventually("all are counted", || count(&stats(&mut client, &session), "requests") == 10);
    client.ask(&format!("ROUTE_UPDATE|{session}|r1|backend_url|http://{}", backend()));
    client.ask(&format!("CONFIG_APPLY|{session}"));
    assert_eq!(count(&stats(&mut client, &session), "requests"), 0);
    let all = client.ask(&format!("STATS_GET|{session}"));
    assert!(all.starts_with("STATS_OK|[{\"route_id\":\"r1\"") && all.contains("\"route_id\":\"r2\""), "{all}");
}
