//! Starts the real program on ports of its own, with a client and a backend for it.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::PATIENCE;

/// Waits until something is true.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "never came true: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A running `signalbox`.
pub struct Server {
    child: Child,
    pub pipe: SocketAddr,
    pub proxy: SocketAddr,
    /// The proxy, for TLS.
    pub https: Option<SocketAddr>,
    pub api: SocketAddr,
    pub log: PathBuf,
}

impl Server {
    /// Starts it on a store in `folder`.
    pub fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    /// The same, with further flags.
    pub fn start_with(folder: &Path, flags: &[&str]) -> Self {
        let mut command = Self::command(folder);
        command.args(flags);
        Self::launch(command, folder)
    }

    /// The program with a store in `folder` and ports that the system chooses.
    pub fn command(folder: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
        let store = format!("sqlite://{}", folder.join("signalbox.db").display());
        command.args(["--pipe-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0"]);
        command.args(["--proxy-http", "127.0.0.1:0", "--store-url", &store]);
        command
    }

    /// Starts a prepared command and waits until it says where it listens.
    pub fn launch(command: Command, folder: &Path) -> Self {
        let to_log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
        Self::launch_logging(command, folder, to_log.into())
    }

    /// The same, with its log going elsewhere.
    pub fn launch_logging(mut command: Command, folder: &Path, sink: Stdio) -> Self {
        let log = folder.join("log");
        let mut child = command.stdout(Stdio::piped()).stderr(sink).spawn().expect("the program starts");
        // It holds an end of the log too, as long as it lives.
        drop(command);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut addresses, mut https) = (Vec::new(), None);
        while let Some(Ok(line)) = lines.next() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("pipe" | "api" | "proxy") => addresses.push(words.next().unwrap().parse().unwrap()),
                Some("https") => https = words.next().map(|address| address.parse().unwrap()),
                Some("store") => break,
                _ => {}
            }
        }
        // Later output must not fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        let [pipe, api, proxy] = addresses[..] else {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("it did not start: {:?}\n{log}", child.wait());
        };
        Self { child, pipe, proxy, https, api, log }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// A new connection to the pipe.
    pub fn connect(&self) -> Client {
        Client::connect(self.pipe)
    }

    /// Asks one line on a connection of its own, as `echo … | nc` does.
    pub fn once(&self, line: &str) -> String {
        self.connect().ask(line)
    }

    /// Asks the proxy for a path of a host: the status and the body.
    pub fn get(&self, host: &str, path: &str) -> (u16, String) {
        get(self.proxy, host, path).expect("the proxy answers")
    }

    /// Ends it as a power cut would, for the process.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.wait().unwrap()
    }

    /// Waits until it has ended.
    pub fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client of the pipe.
pub struct Client {
    reader: BufReader<TcpStream>,
    pub writer: TcpStream,
    /// Lines that the server sent by itself.
    pub told: Vec<String>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).expect("the pipe accepts")
    }

    pub fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    pub fn over(writer: TcpStream) -> std::io::Result<Self> {
        writer.set_read_timeout(Some(PATIENCE))?;
        writer.set_nodelay(true)?;
        Ok(Self { reader: BufReader::new(writer.try_clone()?), writer, told: Vec::new() })
    }

    /// Sends a line and reads its reply.
    pub fn ask(&mut self, line: &str) -> String {
        self.try_ask(line).expect("the connection holds")
    }

    pub fn try_ask(&mut self, line: &str) -> std::io::Result<String> {
        self.writer.write_all(format!("{line}\n").as_bytes())?;
        self.try_reply()
    }

    /// Reads the next reply; what the server sends by itself is put aside.
    pub fn try_reply(&mut self) -> std::io::Result<String> {
        loop {
            let line = self.try_line()?;
            if line.starts_with("EVENT|") || line.starts_with("MAINT_OK|") || line == "SHUTDOWN" {
                self.told.push(line);
            } else {
                return Ok(line);
            }
        }
    }

    /// Reads the next line, whatever it is.
    pub fn try_line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end_matches('\n').to_owned())
    }

    /// Reads what the server says by itself.
    pub fn pushed_line(&mut self) -> String {
        if self.told.is_empty() { self.try_line().expect("the server says something") } else { self.told.remove(0) }
    }

    /// Reads to the end and returns true if the server has closed the connection.
    pub fn is_closed(&mut self) -> bool {
        loop {
            match self.try_line() {
                Ok(_) => {}
                Err(error) => return error.kind() == std::io::ErrorKind::UnexpectedEof,
            }
        }
    }

    /// Registers and gives the session id.
    pub fn register(&mut self, service: &str, instance: &str) -> String {
        let reply = self.ask(&format!("REGISTER|{service}|{instance}|9001|{{}}"));
        reply.strip_prefix("ACK|").unwrap_or_else(|| panic!("{reply}")).to_owned()
    }

    /// Adds a route and applies it.
    pub fn serve(&mut self, session: &str, domain: &str, path: &str, backend: SocketAddr) {
        let reply = self.ask(&format!("ROUTE_ADD|{session}|{domain}|{path}|http://{backend}|0"));
        assert!(reply.starts_with("ROUTE_OK|r"), "{reply}");
        assert_eq!(self.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    }
}

/// A plain HTTP request on a connection of its own.
pub fn get(address: SocketAddr, host: &str, path: &str) -> std::io::Result<(u16, String)> {
    get_over(TcpStream::connect(address)?, host, path)
}

/// The same, over a connection that is there.
pub fn get_over(mut stream: TcpStream, host: &str, path: &str) -> std::io::Result<(u16, String)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    status.map(|status| (status, body.to_owned())).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

/// A backend that answers every request with its name and the request's first line.
pub struct Backend {
    pub address: SocketAddr,
}

impl Backend {
    pub fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || answer(stream, name));
            }
        });
        Self { address }
    }
}

fn answer(mut stream: TcpStream, name: &str) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut reader = BufReader::new(reading);
    loop {
        let mut head = String::new();
        loop {
            match reader.read_line(&mut head) {
                Ok(0) | Err(_) => return,
                Ok(_) if head.ends_with("\r\n\r\n") => break,
                Ok(_) => {}
            }
        }
        let mut body = String::new();
        let _ = write!(body, "{name}: {}", head.lines().next().unwrap_or_default());
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Numbers that look random and come again from the same seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).unwrap()
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }
}
