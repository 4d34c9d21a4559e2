//! Starts the real program on a store of its own, and talks to its pipe. The benchmarks of the control plane share this.

#![allow(dead_code, reason = "each benchmark uses its own part")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub fn quantile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort();
    times[(times.len() - 1) * percent / 100]
}

fn newlines(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').count() - 1
}

pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores{model}")
}

pub struct Server {
    child: Child,
    pub pipe: SocketAddr,
    pub api: SocketAddr,
    pub proxy: SocketAddr,
}

impl Server {
    pub fn start(folder: &Path) -> Self {
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
        let (pipe, api, proxy) = (address("pipe"), address("api"), address("proxy"));
        thread::spawn(move || lines.for_each(drop));
        Self { child, pipe, api, proxy }
    }

    pub fn connect(&self) -> Client {
        let stream = TcpStream::connect(self.pipe).expect("the pipe accepts");
        stream.set_nodelay(true).expect("a socket option");
        Client { reader: BufReader::new(stream) }
    }

    pub fn register(&self, service: &str, instance: &str) -> String {
        let reply = self.connect().ask(&format!("REGISTER|{service}|{instance}|0|{{}}"), "ACK|");
        reply.trim_end()["ACK|".len()..].to_owned()
    }

    pub fn serves(&self) -> bool {
        let mut stream = TcpStream::connect(self.proxy).expect("the proxy accepts");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: nobody\r\nConnection: close\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).is_ok() && answer.starts_with("HTTP/1.1 404")
    }

    /// Asks the API for `target` as the session, and reads the whole answer.
    pub fn get(&self, target: &str, session: &str) {
        let mut stream = TcpStream::connect(self.api).expect("the API accepts");
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {session}\r\nConnection: close\r\n\r\n",
            self.api
        );
        stream.write_all(head.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an answer");
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{target}: {}", String::from_utf8_lossy(&answer));
    }

    /// Writes `lines` so many times without waiting, and reads as many replies. None may be an error.
    pub fn pipelined(&self, times: usize, lines: &[u8]) -> (Duration, Duration) {
        self.exchange(times, lines, false)
    }

    /// The same where errors are what is asked for.
    pub fn pipelined_unchecked(&self, times: usize, lines: &[u8]) -> (Duration, Duration) {
        self.exchange(times, lines, true)
    }

    fn exchange(&self, times: usize, lines: &[u8], takes_errors: bool) -> (Duration, Duration) {
        let count = times * newlines(lines);
        let stream = TcpStream::connect(self.pipe).expect("the pipe accepts");
        let mut reading = stream.try_clone().expect("a second handle");
        self.measure(|| {
            let reader = thread::spawn(move || {
                let (mut seen, mut buffer) = (0, vec![0; 256 * 1024]);
                while seen < count {
                    let read = reading.read(&mut buffer).expect("replies");
                    assert!(read > 0, "the server closed the connection");
                    let is_error = buffer[..read].starts_with(b"ERROR");
                    assert!(takes_errors || !is_error, "{}", String::from_utf8_lossy(&buffer[..read.min(200)]));
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
    pub fn measure(&self, work: impl FnOnce()) -> (Duration, Duration) {
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

    pub fn resident_mib(&self) -> f64 {
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

pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    pub fn ask(&mut self, line: &str, expected: &str) -> String {
        self.reader.get_mut().write_all(format!("{line}\n").as_bytes()).expect("sent");
        let mut reply = String::new();
        self.reader.read_line(&mut reply).expect("a reply");
        assert!(reply.starts_with(expected), "{line}: {reply}");
        reply
    }
}
