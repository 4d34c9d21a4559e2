//! The CPU time of health checks: `cargo bench --bench checks [-- ROUTES INTERVAL_SECS SECS]`.
//!
//! Each route has a backend of its own (addresses of 127/8, served by another process) and is checked as in the server. The
//! checker's CPU time is read for SECS after the first round; the backends' is not part of it. In the same run bare system calls
//! make the same connections and requests, as the floor that the kernel sets, and so does HAProxy where it is installed, before
//! and after: the machine drifts, and only ratios of one run count.
//!
//! Probes share the HTTP/1.1 of proxied requests. `docs/performance.md` has the figures of earlier ways to make them.

mod bare;
mod haproxy;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use signalbox::checks::Checker;
use signalbox::connect::{AddressResolver, BackendTls};
use signalbox::domain::{
    BackendUrl, Catalog, Change, Edit, Host, InstanceName, OptionKey, PathPrefix, Route, RouteId, Sections,
    ServiceName, SessionKey, SessionRecord, Target, Time,
};
use signalbox::lifecycle::{Heartbeat, Lifecycle};
use signalbox::reports::Reports;
use signalbox::traffic::{RouteDefaults, RoutingTable};

fn main() {
    let numbers: Vec<u32> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    if std::env::args().any(|argument| argument == "serve") {
        return serve();
    }
    let [routes, interval, secs] = numbers[..] else { return measure(10_000, 30, 60) };
    measure(routes, interval, secs);
}

fn measure(routes: u32, interval: u32, secs: u32) {
    let mut backends = Backends::start();
    haproxy::measure(&mut backends, routes, interval, secs);
    bare::measure(&mut backends, routes, interval, secs);
    signalbox(&mut backends, routes, interval, secs);
    bare::measure(&mut backends, routes, interval, secs);
    haproxy::measure(&mut backends, routes, interval, secs);
}

fn signalbox(backends: &mut Backends, routes: u32, interval: u32, secs: u32) {
    let table = world(routes, interval, backends.port);
    // As many as the server has for all but requests.
    let threads = std::thread::available_parallelism().map_or(1, |cores| cores.get().clamp(2, 4) - 1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
    let runtime = runtime.expect("threads");
    runtime.block_on(async {
        let lifecycle = Lifecycle::new();
        let checker = Checker {
            tls: BackendTls::default(),
            table: Arc::new(ArcSwap::from_pointee(table)),
            changed: Arc::default(),
            addresses: AddressResolver::default(),
            reports: Reports::default(),
            heartbeat: Heartbeat::new("checker", 0),
        };
        lifecycle.spawn("checker", checker.run(lifecycle.stopping().clone()));
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (checks, cpu) = (backends.answered(), cpu_time("self"));
        tokio::time::sleep(Duration::from_secs(secs.into())).await;
        let (more, spent) = (backends.answered() - checks, cpu_time("self").saturating_sub(cpu));
        row("Signalbox", more, spent, secs);
        lifecycle.end(Duration::from_secs(5)).await;
    });
}

fn row(who: &str, checks: u64, spent: Duration, secs: u32) {
    #[expect(clippy::cast_precision_loss, reason = "a count of checks")]
    let each = spent.as_secs_f64() * 1e6 / checks as f64;
    let share = spent.as_secs_f64() / f64::from(secs) * 100.0;
    println!("{who}: {checks} checks in {secs} s, {each:.1} µs each, {share:.2} % of a core");
}

/// The backends' process.
pub(crate) struct Backends {
    child: Child,
    said: BufReader<ChildStdout>,
    pub port: u16,
}

impl Backends {
    fn start() -> Self {
        let program = std::env::current_exe().expect("its own name");
        let mut child =
            Command::new(program).arg("serve").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        let port = number(&mut said);
        Self { child, said, port: port.try_into().expect("a port") }
    }

    /// Returns the number of requests that the backends have answered.
    pub(crate) fn answered(&mut self) -> u64 {
        self.child.stdin.as_mut().expect("piped").write_all(b"?").expect("it listens");
        number(&mut self.said)
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number(said: &mut impl BufRead) -> u64 {
    let mut line = String::new();
    said.read_line(&mut line).expect("a line");
    line.trim().parse().expect("a number")
}

/// Of all threads of a process.
pub(crate) fn cpu_time(process: &str) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("threads").flatten();
    let nanos = threads.map(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
        stat.split_whitespace().next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0)
    });
    Duration::from_nanos(nanos.sum())
}

static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// Answers on every address of 127/8. Says its port, and for each byte it reads how many answers it gave.
fn serve() {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    let port = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || listener.incoming().flatten().for_each(answer));
    println!("{port}");
    for _ in BufReader::new(std::io::stdin()).bytes() {
        println!("{}", ANSWERED.load(Ordering::SeqCst));
    }
}

fn answer(mut socket: TcpStream) {
    let mut request = [0; 4096];
    if socket.read(&mut request).is_ok() {
        ANSWERED.fetch_add(1, Ordering::SeqCst);
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    }
}

/// The address of the backend of a route.
pub(crate) fn address(route: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x7f00_0000 + route)
}

fn world(routes: u32, interval: u32, port: u16) -> RoutingTable {
    let mut catalog = Catalog::default();
    let key = SessionKey(1);
    catalog.absorb(&Change::Record(key, head()));
    let interval = Edit::Option(
        Target::All,
        OptionKey::parse("health_check_interval").expect("a key"),
        Some(format!("{interval}s").into()),
    );
    let edits = (1..=routes).map(|id| route(id, port)).chain([interval]).collect();
    catalog.absorb(&Change::Apply { key, sections: Sections::ALL, edits });
    RoutingTable::build(&catalog, &RouteDefaults::default())
}

fn route(id: u32, port: u16) -> Edit {
    let backend = SocketAddr::from((address(id), port));
    let route = Route {
        id: RouteId(id),
        name: None,
        domains: Host::parse_list(&format!("h{id}.example")).expect("a host"),
        path: PathPrefix::root(),
        backend: BackendUrl::parse(&format!("http://{backend}")).expect("a backend"),
        priority: 0,
    };
    Edit::Route(RouteId(id), Some(Arc::new(route)))
}

fn head() -> Arc<SessionRecord> {
    let instance = InstanceName::parse("shop-1").expect("a name");
    let service = ServiceName::parse("shop").expect("a name");
    Arc::new(SessionRecord::opened(service, instance, 1, Time(0)))
}
