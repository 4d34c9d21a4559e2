//! What commands cost: `cargo bench --bench control`, or a part of it: `… -- commands`, `applies`, `start`.
//!
//! Starts the real program on a store of its own and talks to it over loopback. CPU is the server's user and
//! system time. Times are medians; every figure is printed with what it was measured over.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

type Part = (&'static str, fn(&Path));

fn main() {
    let folder = tempfile::tempdir().expect("a folder for the stores");
    println!("{}", machine());
    let chosen: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let parts: [Part; 3] = [("commands", throughput), ("applies", applies), ("start", starts)];
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

    let (connections, each) = (64, 150);
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

fn quantile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

/// What the disk alone takes to keep what one apply writes: as many pages of a log that is written over and over.
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

fn newlines(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').count() - 1
}

fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores{model}")
}

struct Server {
    child: Child,
    pipe: SocketAddr,
    proxy: SocketAddr,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let store = format!("sqlite://{}", folder.join("signalbox.db").display());
        let mut child = Command::new(env!("CARGO_BIN_EXE_signalbox"))
            .args([
                "--pipe-listen",
                "127.0.0.1:0",
                "--api-listen",
                "127.0.0.1:0",
                "--proxy-http",
                "127.0.0.1:0",
                "--store-url",
                &store,
            ])
            .args(["--log-level", "error"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
        let mut address = |name: &str| {
            let line = lines.find(|line| line.trim_start().starts_with(name)).expect("it says where it listens");
            line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("an address")
        };
        let (pipe, proxy) = (address("pipe"), address("proxy"));
        thread::spawn(move || lines.for_each(drop));
        Self { child, pipe, proxy }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.pipe).expect("the pipe accepts");
        stream.set_nodelay(true).expect("a socket option");
        Client { reader: BufReader::new(stream) }
    }

    fn register(&self, service: &str, instance: &str) -> String {
        let reply = self.connect().ask(&format!("REGISTER|{service}|{instance}|0|{{}}"), "ACK|");
        reply.trim_end()["ACK|".len()..].to_owned()
    }

    fn serves(&self) -> bool {
        let mut stream = TcpStream::connect(self.proxy).expect("the proxy accepts");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 404")
    }

    /// Writes `lines` so many times without waiting, and reads as many replies.
    fn pipelined(&self, times: usize, lines: &[u8]) -> (Duration, Duration) {
        let count = times * newlines(lines);
        let stream = TcpStream::connect(self.pipe).expect("the pipe accepts");
        let mut reading = stream.try_clone().expect("a second handle");
        self.measure(|| {
            let reader = thread::spawn(move || {
                let (mut seen, mut buffer) = (0, vec![0; 256 * 1024]);
                while seen < count {
                    let read = reading.read(&mut buffer).expect("replies");
                    assert!(read > 0, "the server closed the connection");
                    assert!(!buffer[..read].starts_with(b"ERROR"), "{}", String::from_utf8_lossy(&buffer[..200]));
                    seen += newlines(&buffer[..read]);
                }
            });
            let mut writing = &stream;
            let chunk = if times > 1 { lines.repeat(1024) } else { lines.to_vec() };
            let rounds = if times > 1 { times / 1024 } else { 1 };
            (0..rounds).for_each(|_| writing.write_all(&chunk).expect("sent"));
            (0..if times > 1 { times % 1024 } else { 0 }).for_each(|_| writing.write_all(lines).expect("sent"));
            reader.join().expect("all replies came");
        })
    }

    /// Wall time, and the CPU time of the server meanwhile.
    fn measure(&self, work: impl FnOnce()) -> (Duration, Duration) {
        let (before, begin) = (self.cpu(), Instant::now());
        work();
        (begin.elapsed(), self.cpu().saturating_sub(before))
    }

    fn cpu(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a running process");
        // Fields 14 and 15 (proc(5)), counted after the name, which is in parentheses; 100 ticks a second.
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().expect("ticks") + fields[12].parse::<u64>().expect("ticks");
        Duration::from_millis(ticks * 10)
    }

    fn resident_mib(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    fn ask(&mut self, line: &str, expected: &str) -> String {
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes()).expect("sent");
        let mut reply = String::new();
        self.reader.read_line(&mut reply).expect("a reply");
        assert!(reply.starts_with(expected), "{line}: {reply}");
        reply
    }
}
