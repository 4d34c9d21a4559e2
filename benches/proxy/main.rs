//! Measures CPU per proxied request, bare and with every policy, beside nginx in the same run: `cargo bench --bench proxy`.
//!
//! The proxy under test on core 0; the load (`wrk`) and the backend (nginx, from memory) on core 1. Rounds
//! of both proxies take turns, because machines drift: only ratios of one run count. `PROXY_BENCH_ROUNDS` and `PROXY_BENCH_SECONDS`
//! set the number and length of the rounds; `PROXY_BENCH_EARLIER` names the program of an earlier build, which then takes turns with them.
//! `cargo bench --bench proxy tls` measures https and HTTP/2 beside nginx and HAProxy, and needs h2load; `http3` measures HTTP/3 beside the
//! Caddy that `CADDY` names; `grpc` measures gRPC beside the Envoy that `ENVOY` names, and needs h2load; `eyes` measures the access log, spans, a
//! tap and metrics beside the same program without them; `log` compares a process with itself, with the access log on and off, and nginx
//! likewise.

mod access_log;
mod eyes;
mod grpc;
mod haproxy;
#[cfg(feature = "http3")]
mod http3;
mod nginx;
mod table;
mod tls;
mod tls_client;
mod under_test;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{env, fs};

/// A child that does not outlive the run.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // nginx's master takes its workers along on SIGTERM.
        let _ = Command::new("kill").arg(self.0.id().to_string()).stderr(Stdio::null()).status();
        let _ = self.0.wait();
    }
}

struct Row {
    name: &'static str,
    path: &'static str,
    closes: bool,
}

const ROWS: [Row; 3] = [
    Row { name: "keep-alive, 1 KiB", path: "/", closes: false },
    Row { name: "new connection each, 1 KiB", path: "/", closes: true },
    Row { name: "keep-alive, 64 KiB", path: "/64k", closes: false },
];

struct Contender {
    name: &'static str,
    address: String,
    pids: Vec<u32>,
    _process: Process,
}

/// One round of one contender.
#[derive(Clone, Copy)]
struct Measured {
    micros: f64,
    user: f64,
    per_second: f64,
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if arguments.iter().any(|argument| argument == "table") {
        return table::measure();
    }
    if let Some(client) = tls_client::Client::asked_for(&arguments) {
        return client.run();
    }
    if arguments.iter().any(|argument| argument == "grpc-backend") {
        return grpc::serve();
    }
    #[cfg(feature = "http3")]
    if let Some(at) = arguments.iter().position(|argument| argument == "http3-client") {
        return http3::run(&arguments[at + 1..]);
    }
    let asks_for = |part: &str| arguments.iter().any(|argument| argument == part);
    let further: &[&str] = match () {
        () if asks_for("tls") => &["h2load", "haproxy"],
        () if asks_for("grpc") => &["h2load"],
        () => &[],
    };
    for tool in ["nginx", "wrk", "taskset"].iter().chain(further) {
        let found = Command::new("sh").args(["-c", &format!("command -v {tool}")]).stdout(Stdio::null()).status();
        assert!(found.is_ok_and(|status| status.success()), "this benchmark needs {tool}: install it and run again");
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    assert!(cores >= 2, "this benchmark needs two cores: one for the proxy, one for the load");
    if asks_for("tls") {
        return tls::compare();
    }
    if asks_for("grpc") {
        return grpc::compare();
    }
    #[cfg(feature = "http3")]
    if asks_for("http3") {
        return http3::compare();
    }
    if asks_for("eyes") {
        return eyes::compare();
    }
    if asks_for("log") {
        return access_log::compare();
    }
    compare();
}

fn compare() {
    let home = tempfile::tempdir().expect("a directory for nginx");
    let (rounds, seconds) = (number("PROXY_BENCH_ROUNDS", 5), number("PROXY_BENCH_SECONDS", 3));
    let (_backend, backend) = nginx::backend(home.path());
    let start = |name, program: &str, settings| signalbox(home.path(), name, program, &backend, settings);
    let program = env!("CARGO_BIN_EXE_signalbox");
    let mut contenders = vec![
        nginx_proxy(home.path(), &backend),
        start("signalbox", program, &[]),
        start("every policy", program, under_test::EVERY_POLICY),
    ];
    if let Ok(earlier) = env::var("PROXY_BENCH_EARLIER") {
        contenders.push(start("earlier", &earlier, &[]));
    }
    println!(
        "{:<28} {:>12} {:>12} {:>10} {:>12} {:>10}",
        "", "proxy", "CPU µs/req", "of it user", "requests/s", "ratio"
    );
    for row in &ROWS {
        let mut measured = vec![Vec::<Measured>::new(); contenders.len()];
        for _ in 0..rounds {
            for (contender, measured) in contenders.iter().zip(&mut measured) {
                measured.push(round(contender, row, seconds));
            }
        }
        let medians: Vec<Measured> = measured.iter().map(|rounds| median(rounds)).collect();
        for (contender, median) in contenders.iter().zip(&medians) {
            let ratio = median.micros / medians[0].micros;
            println!(
                "{:<28} {:>12} {:>12.1} {:>10.1} {:>12.0} {:>10.2}",
                row.name, contender.name, median.micros, median.user, median.per_second, ratio
            );
        }
    }
}

fn nginx_proxy(home: &Path, backend: &str) -> Contender {
    let (process, address) = nginx::proxy(home, backend);
    let mut pids = nginx::workers(process.0.id());
    pids.push(process.0.id());
    Contender { name: "nginx", address, pids, _process: process }
}

fn signalbox(home: &Path, name: &'static str, program: &str, backend: &str, settings: &[&str]) -> Contender {
    let (process, address) = under_test::start(home, name, program, &format!("http://{backend}"), settings);
    Contender { name, address, pids: vec![process.0.id()], _process: process }
}

fn round(contender: &Contender, row: &Row, seconds: u32) -> Measured {
    let before = cpu_seconds(&contender.pids);
    let requests = load(&format!("http://{}{}", contender.address, row.path), "shop.example", row.closes, seconds);
    let after = cpu_seconds(&contender.pids);
    let [user, system] = [0, 1].map(|kind| (after[kind] - before[kind]) * 1e6 / requests);
    Measured { micros: user + system, user, per_second: requests / f64::from(seconds) }
}

/// Runs the load; how many requests were answered. Any that failed spoils the run.
fn load(url: &str, host: &str, closes: bool, seconds: u32) -> f64 {
    let mut wrk = Command::new("taskset");
    wrk.args(["-c", "1", "wrk", "-t1", "-c64", &format!("-d{seconds}s"), "-H", &format!("Host: {host}")]);
    if closes {
        wrk.args(["-H", "Connection: close"]);
    }
    let output = wrk.arg(url).output().expect("wrk runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!said.contains("Non-2xx"), "not every request succeeded:\n{said}");
    let requests = said.lines().find_map(|line| line.trim().split_once(" requests in "));
    requests.and_then(|(count, _)| count.parse().ok()).unwrap_or_else(|| panic!("wrk said:\n{said}"))
}

/// User and system time so far, from `/proc/<pid>/stat`, fields 14 and 15, in ticks of 1/100 s.
fn cpu_seconds(pids: &[u32]) -> [f64; 2] {
    let mut sum = [0.0, 0.0];
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the proxy is alive");
        let after_name = stat.rsplit_once(") ").expect("a name in parentheses").1;
        for (sum, field) in sum.iter_mut().zip(after_name.split(' ').skip(11)) {
            *sum += field.parse::<f64>().unwrap_or_default() / 100.0;
        }
    }
    sum
}

fn median(rounds: &[Measured]) -> Measured {
    let mut rounds = rounds.to_vec();
    rounds.sort_by(|a, b| a.micros.total_cmp(&b.micros));
    rounds[rounds.len() / 2]
}

fn number(name: &str, default: u32) -> u32 {
    env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default).max(1)
}
