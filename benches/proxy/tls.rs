//! Https beside nginx and HAProxy: CPU per request and per handshake, and memory per idle connection.
//!
//! Certificates have P-256 keys. The client of the handshakes is this program again, on core 1.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::{Contender, Process, cpu_seconds, load, nginx, number, under_test};

/// The idle connections whose memory is measured.
const IDLE: usize = 2000;

/// What the client does.
pub enum Client {
    Handshakes { address: String, cert: String, resumes: bool, seconds: u64 },
    Idle { address: String, cert: String },
}

/// Compares CPU and memory.
pub fn compare() {
    let home = tempfile::tempdir().expect("a directory");
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (cert, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    fs::write(home.path().join("cert"), &cert).expect("a file");
    fs::write(home.path().join("key"), &key).expect("a file");
    fs::write(home.path().join("both"), cert + &key).expect("a file");
    let (_backend, backend) = nginx::backend(home.path());
    let (process, address) = nginx::secure_proxy(home.path(), &backend);
    let nginx = Contender { name: "nginx", address, pids: nginx::workers(process.0.id()), _process: process };
    let (process, address) = haproxy(home.path(), &backend);
    let haproxy = Contender { name: "haproxy", address, pids: vec![process.0.id()], _process: process };
    let (process, address) = under_test::start_secure(home.path(), "own", env!("CARGO_BIN_EXE_signalbox"), &backend);
    let own = Contender { name: "signalbox", address, pids: vec![process.0.id()], _process: process };
    let contenders = [nginx, haproxy, own];
    let seconds = number("PROXY_BENCH_SECONDS", 3);
    println!("{:<28} {:>12} {:>12} {:>12} {:>10}", "", "proxy", "CPU µs each", "per second", "ratio");
    for (name, path) in [("https keep-alive, 1 KiB", "/"), ("https keep-alive, 64 KiB", "/64k")] {
        report(name, &contenders, seconds, &|contender| {
            let port = contender.address.rsplit(':').next().unwrap_or_default();
            load(&format!("https://localhost:{port}{path}"), "localhost", false, seconds)
        });
    }
    for (name, resumes) in [("full handshakes", "full"), ("resumed handshakes", "resumed")] {
        report(name, &contenders, seconds, &|contender| {
            client(home.path(), contender, &[resumes, &seconds.to_string()])
        });
    }
    for contender in &contenders {
        println!(
            "{:<28} {:>12} {:>12.1} KiB each",
            "idle https connections",
            contender.name,
            idle(home.path(), contender)
        );
    }
}

fn report(name: &str, contenders: &[Contender], seconds: u32, work: &dyn Fn(&Contender) -> f64) {
    let mut measured = vec![Vec::new(); contenders.len()];
    for _ in 0..number("PROXY_BENCH_ROUNDS", 5) {
        for (contender, measured) in contenders.iter().zip(&mut measured) {
            let before: f64 = cpu_seconds(&contender.pids).iter().sum();
            let count = work(contender);
            let after: f64 = cpu_seconds(&contender.pids).iter().sum();
            measured.push(((after - before) * 1e6 / count, count / f64::from(seconds)));
        }
    }
    let medians: Vec<(f64, f64)> = measured
        .iter_mut()
        .map(|rounds| {
            rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
            rounds[rounds.len() / 2]
        })
        .collect();
    for (contender, (micros, per_second)) in contenders.iter().zip(&medians) {
        let ratio = micros / medians[0].0;
        println!("{name:<28} {:>12} {micros:>12.1} {per_second:>12.0} {ratio:>10.2}", contender.name);
    }
}

/// Runs the client for a while; how many handshakes it did.
fn client(home: &Path, contender: &Contender, arguments: &[&str]) -> f64 {
    let mut client = Command::new("taskset");
    client.args(["-c", "1"]).arg(env::current_exe().expect("this program")).arg("tls-client").arg(&contender.address);
    let output = client.arg(home.join("cert")).args(arguments).output().expect("the client runs");
    let said = String::from_utf8_lossy(&output.stdout);
    said.trim().parse().unwrap_or_else(|_| panic!("the client said {said}{}", String::from_utf8_lossy(&output.stderr)))
}

/// The KiB that an idle connection takes.
fn idle(home: &Path, contender: &Contender) -> f64 {
    let resident = || -> f64 {
        let of = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = |status: String| status.lines().find_map(|line| line.strip_prefix("VmRSS:").map(str::to_owned));
        let kib = |line: String| line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok());
        contender.pids.iter().filter_map(|pid| line(of(pid)).and_then(kib)).sum()
    };
    let before = resident();
    let mut client = Command::new(env::current_exe().expect("this program"));
    client.arg("tls-client").arg(&contender.address).arg(home.join("cert")).arg("idle");
    let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the client runs");
    let mut ready = [0];
    client.stdout.take().expect("piped").read_exact(&mut ready).expect("it is ready");
    thread::sleep(Duration::from_secs(1));
    let after = resident();
    drop(client.stdin.take());
    let _ = client.wait();
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let each = (after - before) / IDLE as f64;
    each
}

impl Client {
    /// Returns the client that the arguments ask for.
    pub fn asked_for(arguments: &[String]) -> Option<Self> {
        let at = arguments.iter().position(|argument| argument == "tls-client")?;
        let rest: Vec<String> = arguments.iter().skip(at + 1).cloned().collect();
        let [address, cert, what, ..] = &rest[..] else { return None };
        let (address, cert) = (address.clone(), cert.clone());
        if what == "idle" {
            return Some(Self::Idle { address, cert });
        }
        let seconds = rest.get(3)?.parse().ok()?;
        Some(Self::Handshakes { address, cert, resumes: what == "resumed", seconds })
    }

    pub fn run(self) {
        match self {
            Self::Handshakes { address, cert, resumes, seconds } => {
                let config = config(&cert, resumes);
                let (end, mut count) = (Instant::now() + Duration::from_secs(seconds), 0);
                while Instant::now() < end {
                    let mut connection = connect(&address, &config);
                    while resumes && connection.conn.tls13_tickets_received() == 0 {
                        connection.conn.read_tls(&mut connection.sock).expect("a ticket");
                        connection.conn.process_new_packets().expect("a ticket");
                    }
                    count += 1;
                }
                println!("{count}");
            }
            Self::Idle { address, cert } => {
                let config = config(&cert, false);
                let open: Vec<_> = (0..IDLE)
                    .map(|_| {
                        let mut connection = connect(&address, &config);
                        connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("sent");
                        let mut answer = [0; 4096];
                        assert!(connection.read(&mut answer).expect("an answer") > 0);
                        connection
                    })
                    .collect();
                println!("ready");
                let _ = std::io::stdin().read(&mut [0]);
                drop(open);
            }
        }
    }
}

fn config(cert: &str, resumes: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).expect("a certificate")).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

fn connect(address: &str, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let mut socket = TcpStream::connect(address).expect("connected");
    socket.set_nodelay(true).expect("an option");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut session = ClientConnection::new(Arc::clone(config), name).expect("a session");
    while session.is_handshaking() {
        session.complete_io(&mut socket).expect("a handshake");
    }
    StreamOwned::new(session, socket)
}

/// Starts HAProxy on core 0. Where it listens.
fn haproxy(home: &Path, backend: &str) -> (Process, String) {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let (address, file) = (free.to_string(), home.join("haproxy.cfg"));
    let configuration = format!(
        "global\n maxconn 20000\n nbthread 1\ndefaults\n mode http\n timeout client 1m\n timeout server 1m\n timeout connect 5s\n \
         option forwardfor\nfrontend front\n bind {address} ssl crt {}/both alpn http/1.1\n \
         http-request set-header X-Forwarded-Proto https\n default_backend back\n\
         backend back\n http-reuse always\n server one {backend}\n",
        home.display()
    );
    fs::write(&file, configuration).expect("a configuration");
    let mut haproxy = Command::new("taskset");
    haproxy.args(["-c", "0", "haproxy", "-db", "-f"]).arg(&file).stderr(Stdio::null()).stdout(Stdio::null());
    let process = Process(haproxy.spawn().expect("haproxy runs"));
    for _ in 0..500 {
        if TcpStream::connect(&address).is_ok() {
            return (process, address);
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("haproxy does not listen on {address}");
}
