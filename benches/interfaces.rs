//! Measures calls and event streams of gRPC and REST beside the pipe: `cargo bench --bench interfaces`, or a part of it: `… -- calls`, `watchers`.
//!
//! Starts the real program on a store of its own and talks to it over loopback. CPU is the server's user and system
//! time. A watcher's delay runs from just before an event's cause is sent until the watcher has read the event.

#[path = "support/server.rs"]
mod server;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;
use signalbox::grpc::proto;
use signalbox::grpc::proto::operator_client::OperatorClient;
use signalbox::grpc::proto::registry_client::RegistryClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};

use server::{Server, machine, quantile};

const WATCHERS: usize = 1_000;
const EVENTS: usize = 1_000;
/// From one event to the next: a million deliveries take the two cores, which client and server share, about this long.
const PAUSE: Duration = Duration::from_millis(25);

type Part = (&'static str, fn(&Path));

fn main() {
    let folder = tempfile::tempdir().expect("a folder for the stores");
    println!("{}", machine());
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let parts: [Part; 2] = [("calls", calls), ("watchers", watchers)];
    for (name, part) in parts {
        if chosen.is_empty() || chosen.iter().any(|word| word == name) {
            let own = folder.path().join(name);
            fs::create_dir(&own).expect("a folder");
            part(&own);
        }
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// One client of one interface, that asks one call after the other.
trait Client: Send {
    fn ping(&mut self);
    fn add_route(&mut self, number: usize);
}

fn calls(folder: &Path) {
    let server = Server::start(folder);
    println!("\n{:<44} {:>12} {:>16}", "calls, one after the other", "per second", "server µs CPU");
    let (one, many) = (1, 32);
    for (call, count) in [("ping", 20_000), ("add a route", 10_000)] {
        for connections in [one, many] {
            for interface in ["pipe", "REST", "gRPC"] {
                let each = count / connections;
                let clients: Vec<Box<dyn Client>> = (0..connections)
                    .map(|number| client(&server, interface, &format!("{interface}-{call}-{number}")))
                    .collect();
                let (wall, cpu) = server.measure(|| {
                    let asking = clients.into_iter().map(|mut client| {
                        thread::spawn(move || {
                            for number in 0..each {
                                if call == "ping" { client.ping() } else { client.add_route(number) }
                            }
                        })
                    });
                    let asking: Vec<_> = asking.collect();
                    asking.into_iter().for_each(|thread| thread.join().expect("answered"));
                });
                let asked = f64::from(u32::try_from(connections * each).expect("a count"));
                let what = format!("{call}, {interface}, {connections} at once");
                println!("{what:<44} {:>12.0} {:>16.1}", asked / wall.as_secs_f64(), cpu.as_secs_f64() * 1e6 / asked);
            }
        }
    }
}

fn client(server: &Server, interface: &str, instance: &str) -> Box<dyn Client> {
    let session = server.register("bench", &instance.replace(' ', "-"));
    match interface {
        "pipe" => Box::new(Pipe { client: server.connect(), session }),
        "REST" => Box::new(Rest::connect(server.api, session)),
        _ => Box::new(Grpc::connect(server.api, session)),
    }
}

struct Pipe {
    client: server::Client,
    session: String,
}

impl Client for Pipe {
    fn ping(&mut self) {
        self.client.ask(&format!("PING|{}", self.session), "PONG");
    }

    fn add_route(&mut self, number: usize) {
        let line = format!("ROUTE_ADD|{}|h{number}.example|/|http://127.0.0.1:3000|0", self.session);
        self.client.ask(&line, "ROUTE_OK");
    }
}

/// HTTP/1.1 over one connection that is kept.
struct Rest {
    reader: BufReader<TcpStream>,
    address: SocketAddr,
    session: String,
}

impl Rest {
    fn connect(address: SocketAddr, session: String) -> Self {
        let stream = TcpStream::connect(address).expect("the API accepts");
        stream.set_nodelay(true).expect("a socket option");
        Self { reader: BufReader::new(stream), address, session }
    }

    fn post(&mut self, path: &str, body: &str, expected: &str) {
        let Self { address, session, .. } = self;
        let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {session}\r\n");
        let length = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        self.reader.get_mut().write_all(format!("{head}{length}").as_bytes()).expect("sent");
        let (mut line, mut length) = (String::new(), 0);
        self.reader.read_line(&mut line).expect("an answer");
        assert!(line.contains(expected), "{line}");
        while line != "\r\n" {
            line.clear();
            self.reader.read_line(&mut line).expect("a head");
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        self.reader.read_exact(&mut vec![0; length]).expect("a body");
    }
}

impl Client for Rest {
    fn ping(&mut self) {
        self.post("/v1/session/ping", "", "204");
    }

    fn add_route(&mut self, number: usize) {
        let route = json!({ "domains": [format!("h{number}.example")], "path": "/", "backend_url": "http://127.0.0.1:3000", "priority": 0 });
        self.post("/v1/session/routes", &route.to_string(), "201");
    }
}

struct Grpc {
    runtime: Runtime,
    client: RegistryClient<Channel>,
    session_id: String,
}

impl Grpc {
    fn connect(address: SocketAddr, session_id: String) -> Self {
        let runtime = runtime();
        let channel = runtime.block_on(channel(address));
        Self { runtime, client: RegistryClient::new(channel), session_id }
    }
}

async fn channel(address: SocketAddr) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
    endpoint.connect().await.expect("the API accepts")
}

impl Client for Grpc {
    fn ping(&mut self) {
        let request = proto::PingRequest { session_id: self.session_id.clone() };
        self.runtime.block_on(self.client.ping(request)).expect("a pong");
    }

    fn add_route(&mut self, number: usize) {
        let route = proto::NewRoute {
            domains: vec![format!("h{number}.example")],
            path: "/".to_owned(),
            backend_url: "http://127.0.0.1:3000".to_owned(),
            priority: 0,
        };
        let request = proto::AddRouteRequest { session_id: self.session_id.clone(), route: Some(route) };
        self.runtime.block_on(self.client.add_route(request)).expect("a route");
    }
}

/// The time at which the cause of each event was sent.
type Sent = Arc<Vec<OnceLock<Instant>>>;

/// Every watcher hears of every event.
fn watchers(folder: &Path) {
    println!(
        "\n{:<34} {:>12} {:>10} {:>10} {:>10} {:>16}",
        format!("{WATCHERS} watchers, {EVENTS} events"),
        "deliveries",
        "p50 ms",
        "p99 ms",
        "max ms",
        "server µs CPU"
    );
    for interface in ["server-sent events", "gRPC"] {
        let own = folder.join(interface.replace(' ', "-"));
        fs::create_dir(&own).expect("a folder");
        let server = Server::start(&own);
        let sent: Sent = Arc::new((0..EVENTS).map(|_| OnceLock::new()).collect());
        let (ready, mut told) = mpsc::channel(WATCHERS);
        let watching = {
            let (api, sent) = (server.api, Arc::clone(&sent));
            thread::spawn(move || runtime().block_on(watch(interface, api, &sent, ready)))
        };
        (0..WATCHERS).for_each(|_| told.blocking_recv().expect("each watches"));
        let mut delays = Vec::new();
        let (_, cpu) = server.measure(|| {
            cause(&server, &sent);
            delays = watching.join().expect("all was heard");
        });
        assert_eq!(delays.len(), WATCHERS * EVENTS, "nothing is lost");
        let millis = |percent| quantile(&mut delays.clone(), percent).as_secs_f64() * 1e3;
        let deliveries = f64::from(u32::try_from(delays.len()).expect("a count"));
        println!(
            "{interface:<34} {deliveries:>12} {:>10.1} {:>10.1} {:>10.1} {:>16.2}",
            millis(50),
            millis(99),
            millis(100),
            cpu.as_secs_f64() * 1e6 / deliveries
        );
    }
}

/// Drains that begin and are taken back: each is one event.
fn cause(server: &Server, sent: &Sent) {
    let mut client = server.connect();
    // An event too, the first.
    let reply = client.ask("REGISTER|bench|bench-1|0|{}", "ACK|");
    let session = reply.trim_end().trim_start_matches("ACK|");
    for (number, moment) in sent.iter().enumerate().skip(1) {
        thread::sleep(PAUSE);
        let _ = moment.set(Instant::now());
        let line = if number % 2 == 1 { "DRAIN_START|SESSION|1h" } else { "DRAIN_CANCEL|SESSION" };
        client.ask(&line.replace("SESSION", session), "DRAIN_OK");
    }
}

async fn watch(interface: &'static str, api: SocketAddr, sent: &Sent, ready: mpsc::Sender<()>) -> Vec<Duration> {
    let mut tasks = tokio::task::JoinSet::new();
    let mut shared = None;
    for number in 0..WATCHERS {
        let (sent, ready) = (Arc::clone(sent), ready.clone());
        if interface == "gRPC" {
            if number % 100 == 0 {
                shared = Some(channel(api).await);
            }
            let channel = shared.clone().expect("the first opens one");
            tasks.spawn(watch_grpc(channel, sent, ready));
        } else {
            tasks.spawn(watch_sse(api, sent, ready));
        }
    }
    drop(ready);
    tasks.join_all().await.into_iter().flatten().collect()
}

/// Returns the time since an event was caused. The first event, the registration, has no such time.
fn delay(sent: &Sent, number: usize) -> Duration {
    sent[number].get().map_or(Duration::ZERO, Instant::elapsed)
}

async fn watch_grpc(channel: Channel, sent: Sent, ready: mpsc::Sender<()>) -> Vec<Duration> {
    let mut client = OperatorClient::new(channel);
    let mut stream = client.watch(proto::WatchRequest { after: None }).await.expect("a stream").into_inner();
    ready.send(()).await.expect("somebody counts");
    let mut delays = Vec::with_capacity(EVENTS);
    while delays.len() < EVENTS {
        let item = stream.message().await.expect("it goes on").expect("an item");
        assert!(matches!(item.item, Some(proto::watch_response::Item::Event(_))), "{item:?}");
        delays.push(delay(&sent, delays.len()));
    }
    delays
}

async fn watch_sse(api: SocketAddr, sent: Sent, ready: mpsc::Sender<()>) -> Vec<Duration> {
    let mut stream = tokio::net::TcpStream::connect(api).await.expect("the API accepts");
    let request = format!("GET /v1/events HTTP/1.1\r\nhost: {api}\r\naccept: text/event-stream\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let (mut text, mut delays, mut begun) = (Vec::new(), Vec::with_capacity(EVENTS), false);
    while delays.len() < EVENTS {
        assert!(stream.read_buf(&mut text).await.expect("it goes on") > 0, "it ended");
        // A line that begins with `id:` is an event's; what is not whole yet stays.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines: Vec<u8> = text.drain(..whole).collect();
        let ids = lines.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"id:")).count();
        assert!(!lines.windows(6).any(|window| window == b"lagged"), "something is lost");
        (0..ids).for_each(|_| delays.push(delay(&sent, delays.len())));
        if !std::mem::replace(&mut begun, true) {
            ready.send(()).await.expect("somebody counts");
        }
    }
    delays
}
