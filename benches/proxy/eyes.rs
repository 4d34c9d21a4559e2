//! CPU per request with the access log, spans, a tap and metrics, beside the same program without them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::tls::report;
use crate::{Contender, load, nginx, number, under_test};

/// Compares the parts, and all of them at once.
pub fn compare() {
    let home = tempfile::tempdir().expect("a directory");
    let (_backend, backend) = nginx::backend(home.path());
    let (collector, log) = (collector(), home.path().join("access.log").display().to_string());
    let logging = ["--log-access-file", &log];
    let spans = ["--telemetry-otlp-endpoint", &collector, "--telemetry-otlp-protocol", "http/protobuf"];
    let program = env!("CARGO_BIN_EXE_signalbox");
    let start = |name: &'static str, flags: &[&str]| {
        let url = format!("http://{backend}");
        let (process, address, api) = under_test::start_with(home.path(), name, program, &url, flags);
        (Contender { name, address, pids: vec![process.0.id()], _process: process }, api)
    };
    let (all, api) = start("all on", &[&logging[..], &spans].concat());
    watch(&api);
    let contenders = [start("all off", &[]).0, start("JSON log", &logging).0, start("1 % spans", &spans).0, all];
    let seconds = number("PROXY_BENCH_SECONDS", 3);
    println!("{:<28} {:>12} {:>12} {:>12} {:>10}", "", "program", "CPU µs each", "per second", "ratio");
    report("keep-alive, 1 KiB", &contenders, seconds, &|contender| {
        load(&format!("http://{}/", contender.address), "shop.example", false, seconds)
    });
}

/// Opens a tap, and asks for the metrics every five seconds.
fn watch(api: &str) {
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(api).expect("the API accepts");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("sent");
        stream
    };
    let mut tap = ask("/v1/tap");
    thread::spawn(move || {
        let mut sink = vec![0; 65536];
        while tap.read(&mut sink).is_ok_and(|read| read > 0) {}
    });
    let api = api.to_owned();
    thread::spawn(move || {
        while let Ok(mut stream) = TcpStream::connect(&api) {
            let head = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
            if stream.write_all(head.as_bytes()).is_err() {
                return;
            }
            let _ = stream.read_to_end(&mut Vec::new());
            thread::sleep(Duration::from_secs(5));
        }
    });
}

/// Starts a collector that takes all spans. Returns its URL.
fn collector() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut sink = vec![0; 65536];
            // A message is sent in one piece on a connection of its own; the rest of a longer one is not read.
            let _ = stream.read(&mut sink);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    format!("http://{address}")
}
