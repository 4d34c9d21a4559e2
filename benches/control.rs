//! Measures commands of the pipe: `cargo bench --bench control`, or a part of it: `… -- commands`, `applies`,
//! `start`, `beside`.
//!
//! Starts the real program on a store of its own and talks to it over loopback. CPU is the server's user and
//! system time. Times are medians; every figure is printed with its sample.

#[path = "support/server.rs"]
mod server;

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use server::{Client, Server, machine, quantile};

type Part = (&'static str, fn(&Path));

fn main() {
    let folder = tempfile::tempdir().expect("a folder for the stores");
    println!("{}", machine());
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let parts: [Part; 4] = [("commands", throughput), ("applies", applies), ("start", starts), ("beside", beside)];
    for (name, part) in parts {
        if chosen.is_empty() || chosen.iter().any(|word| word == name) {
            part(&fresh(folder.path(), name));
        }
    }
}

fn fresh(folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    fs::create_dir(&path).expect("a folder");
    path
}

fn throughput(folder: &Path) {
    println!("\n{:<34} {:>12} {:>16}", "commands", "per second", "server µs CPU");
    let server = Server::start(folder);
    let session = server.register("bench", "bench-1");
    let count = 2_000_000;
    let lines = format!("PING|{session}\n").into_bytes();
    let row = server.pipelined(count, &lines);
    report("PING, pipelined", count, row);

    let count = 200_000;
    let lines: Vec<u8> = (0..count)
        .flat_map(|n| format!("ROUTE_ADD|{session}|h{n}.example|/|http://127.0.0.1:3000|0\n").into_bytes())
        .collect();
    let row = server.pipelined(1, &lines);
    report("ROUTE_ADD, pipelined", count, row);

    let one = server.register("bench", "bench-2");
    let count = 20_000;
    let row = server.measure(|| {
        let mut client = server.connect();
        for n in 0..count {
            client.ask(&format!("ROUTE_ADD|{one}|g{n}.example|/|http://127.0.0.1:3000|0"), "ROUTE_OK");
        }
    });
    report("ROUTE_ADD, one at a time", count, row);

    // Fewer than one client address may have.
    let (connections, each) = (64, 75);
    let row = server.measure(|| {
        let workers: Vec<_> = (0..connections)
            .map(|number| {
                let mut client = server.connect();
                thread::spawn(move || {
                    for n in 0..each {
                        client.ask(&format!("REGISTER|many|i{number}-{n}|0|{{}}"), "ACK");
                    }
                })
            })
            .collect();
        workers.into_iter().for_each(|worker| worker.join().expect("registered"));
    });
    report("REGISTER, 64 connections at once", connections * each, row);
}

fn report(what: &str, count: usize, (wall, cpu): (Duration, Duration)) {
    let count = f64::from(u32::try_from(count).expect("a count"));
    println!("{what:<34} {:>12.0} {:>16.2}", count / wall.as_secs_f64(), cpu.as_secs_f64() * 1e6 / count);
}

/// `CONFIG_APPLY` of one route while so many are active, in the same session and in others.
fn applies(folder: &Path) {
    println!(
        "\n{:<34} {:>10} {:>10} {:>14} {:>12}",
        "CONFIG_APPLY of one route with", "p50 ms", "p95 ms", "above fsync", "server µs CPU"
    );
    for active in [10, 1_000, 10_000, 100_000] {
        for own in [true, false] {
            let server = Server::start(&fresh(folder, &format!("apply-{active}-{own}")));
            let (busy, mut client) = filled(&server, active, own);
            let (mut times, mut above) = (Vec::new(), Vec::new());
            let mut disk = Disk::new(folder);
            let rounds = 300;
            let (_, cpu) = server.measure(|| {
                for n in 0..rounds {
                    client.ask(&format!("ROUTE_ADD|{busy}|new{n}.example|/|http://127.0.0.1:3000|0"), "ROUTE_OK");
                    let begin = Instant::now();
                    client.ask(&format!("CONFIG_APPLY|{busy}"), "OK");
                    times.push(begin.elapsed());
                    above.push(disk.sync());
                }
            });
            let (p50, p95) = (quantile(&mut times, 50), quantile(&mut times, 95));
            let sync = quantile(&mut above, 50);
            println!(
                "{:<34} {:>10.3} {:>10.3} {:>11.3} ms {:>12.0}",
                format!("{active} routes active, {}", if own { "all its own" } else { "all others'" }),
                p50.as_secs_f64() * 1e3,
                p95.as_secs_f64() * 1e3,
                (p50.as_secs_f64() - sync.as_secs_f64()) * 1e3,
                cpu.as_secs_f64() * 1e6 / f64::from(rounds),
            );
        }
    }
}

/// A server with so many routes active, and a session of it to work with.
fn filled(server: &Server, active: usize, own: bool) -> (String, Client) {
    let mut client = server.connect();
    let holder = server.register("holder", "holder-1");
    fill(server, &holder, active);
    let busy = if own { holder } else { server.register("busy", "busy-1") };
    client.ask(&format!("RECONNECT|{busy}"), "OK");
    (busy, client)
}

fn fill(server: &Server, session: &str, count: usize) {
    let lines: Vec<u8> = (0..count)
        .flat_map(|n| format!("ROUTE_ADD|{session}|h{n}.example|/|http://127.0.0.1:3000|0\n").into_bytes())
        .chain(format!("CONFIG_APPLY|{session}\n").into_bytes())
        .collect();
    server.pipelined(1, &lines);
}

fn starts(folder: &Path) {
    println!("\n{:<34} {:>12} {:>16}", "start and memory with", "ms to serve", "MiB resident");
    let mut idle = 0.0;
    for active in [0, 10_000, 100_000] {
        let folder = fresh(folder, &format!("start-{active}"));
        let server = Server::start(&folder);
        let session = server.register("holder", "holder-1");
        fill(&server, &session, active);
        drop(server);
        let mut times: Vec<Duration> = (0..5)
            .map(|_| {
                let begin = Instant::now();
                let server = Server::start(&folder);
                let _ = TcpStream::connect(server.proxy).expect("it serves");
                let answered = server.serves();
                assert!(answered, "the proxy answers");
                begin.elapsed()
            })
            .collect();
        let server = Server::start(&folder);
        let resident = server.resident_mib();
        idle = if active == 0 { resident } else { idle };
        let per_route = if active == 0 {
            String::new()
        } else {
            format!(
                "  {:.2} KiB a route",
                (resident - idle) * 1024.0 / f64::from(u32::try_from(active).expect("a count"))
            )
        };
        println!(
            "{:<34} {:>12.0} {:>16.1}{per_route}",
            format!("{active} routes stored"),
            quantile(&mut times, 50).as_secs_f64() * 1e3,
            resident
        );
    }
}

/// Routes of the session that asks for much while another one pings.
const MANY_ROUTES: usize = 200_000;

/// `PING` of one session while another one asks for something large.
fn beside(folder: &Path) {
    println!("\nPING of one session while another one of {MANY_ROUTES} routes asks for");
    println!("{:<34} {:>10} {:>8} {:>10} {:>10}", "", "ms", "pings", "p50 ms", "most ms");
    let server = Server::start(folder);
    let session = server.register("large", "large-1");
    stage(&server, &session);
    let mut large = server.connect();
    let mut ask = |what: &str, line: String, expected: &str| {
        pinged(&server, what, || drop(large.ask(&line, expected)));
    };
    pinged(&server, "nothing, for a second", || thread::sleep(Duration::from_secs(1)));
    ask("validate", format!("CONFIG_VALIDATE|{session}"), "OK");
    ask("diff", format!("CONFIG_DIFF|{session}"), "ERROR|reply of ");
    ask("apply", format!("CONFIG_APPLY|{session}"), "OK");
    ask("list", format!("ROUTE_LIST|{session}"), "ERROR|reply of ");
    ask("list, compressed", format!("ROUTE_LIST|{session}|compressed"), "");
    ask("statistics, compressed", format!("STATS_GET|{session}|ALL|compressed"), "");
    ask("a setting for all", format!("OPTIONS_SET|{session}|ALL|retries|2"), "OPTIONS_OK");
    ask("apply of a setting for all", format!("CONFIG_APPLY|{session}"), "OK");
    pinged(&server, "50 lists, pipelined", || {
        server.pipelined_unchecked(50, format!("ROUTE_LIST|{session}\n").as_bytes());
    });
    for target in ["/v1/session/routes", "/v1/session/config", "/v1/session/stats", "/v1/instances"] {
        pinged(&server, &format!("GET {target}"), || server.get(target, &session));
    }
    pinged(&server, "GET /v1/explain", || server.get("/v1/explain?host=h7.example&path=/", &session));
    let next = server.register("large", "large-1");
    stage(&server, &next);
    let mut ask = |what: &str, line: String, expected: &str| {
        pinged(&server, what, || drop(large.ask(&line, expected)));
    };
    ask("rollback", format!("CONFIG_ROLLBACK|{next}"), "OK");
    ask("apply that ends the one before", format!("CONFIG_APPLY|{next}"), "OK");
    stage(&server, &next);
    ask("apply again", format!("CONFIG_APPLY|{next}"), "OK");
    ask("end", format!("CLIENT_SHUTDOWN|{next}"), "SHUTDOWN_OK");
}

/// Stages many routes.
fn stage(server: &Server, session: &str) {
    let lines: Vec<u8> = (0..MANY_ROUTES)
        .flat_map(|n| format!("ROUTE_ADD|{session}|h{n}.example|/|http://127.0.0.1:1|0\n").into_bytes())
        .collect();
    server.pipelined(1, &lines);
}

/// Does something while another session pings; prints what the pings took.
fn pinged(server: &Server, what: &str, work: impl FnOnce()) {
    let session = server.register("quiet", "quiet-1");
    let mut quiet = server.connect();
    let over = AtomicBool::new(false);
    let (whole, mut took) = thread::scope(|scope| {
        let pinging = scope.spawn(|| {
            let mut took = Vec::new();
            // One at least, however short the work is.
            while took.is_empty() || !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                quiet.ask(&format!("PING|{session}"), "PONG");
                took.push(asked.elapsed());
                thread::sleep(Duration::from_millis(1));
            }
            took
        });
        let begun = Instant::now();
        work();
        let whole = begun.elapsed();
        over.store(true, Ordering::Relaxed);
        (whole, pinging.join().expect("pings are answered"))
    });
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (middle, most) = (quantile(&mut took, 50), quantile(&mut took, 100));
    println!("{what:<34} {:>10.0} {:>8} {:>10.2} {:>10.2}", ms(whole), took.len(), ms(middle), ms(most));
}

/// Measures the disk alone: it writes and syncs as many pages of a log as one apply does.
struct Disk {
    file: fs::File,
    at: u64,
}

impl Disk {
    fn new(folder: &Path) -> Self {
        let file = fs::File::create(folder.join("disk")).expect("a file");
        (&file).write_all(&vec![1; 1000 * PAGE]).expect("room");
        file.sync_all().expect("synced");
        Self { file, at: 0 }
    }

    fn sync(&mut self) -> Duration {
        let pages = 5;
        let begin = Instant::now();
        self.file.write_all_at(&vec![7; pages * PAGE], self.at * PAGE as u64).expect("room");
        self.file.sync_data().expect("synced");
        self.at = (self.at + pages as u64) % (1000 - pages as u64);
        begin.elapsed()
    }
}

const PAGE: usize = 4096;
