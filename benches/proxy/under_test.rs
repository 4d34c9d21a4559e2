//! The proxy under test: the real program with one worker and one route, bare or with every policy.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Process;

/// One of each kind, none of which ever refuses a request here.
pub const EVERY_POLICY: &[&str] = &[
    "RATELIMIT_SET|{session}|ALL|1000000|1s",
    "CIRCUIT_BREAKER_SET|{session}|ALL|5|30s|2",
    "HEALTH_SET|{session}|r1|/|30s|5s",
    "HEADERS_SET|{session}|ALL|X-Frame-Options|DENY",
];

/// Starts it on core 0, with its store in `home` under `name`, and with these settings. Returns it with the address for requests.
pub fn start(home: &Path, name: &str, program: &str, backend: &str, settings: &[&str]) -> (Process, String) {
    begin(home, name, program, backend, settings, None)
}

/// Starts it for https, with the files `cert` and `key` in `home`. Where it takes such requests.
pub fn start_secure(home: &Path, name: &str, program: &str, backend: &str) -> (Process, String) {
    let file = home.join(format!("{name}.toml"));
    let tls = format!("[[tls]]\ncert = \"{0}/cert\"\nkey = \"{0}/key\"\n", home.display());
    std::fs::write(&file, format!("[proxy]\nhttps = \"127.0.0.1:0\"\n{tls}")).expect("a configuration");
    begin(home, name, program, backend, &[], Some(&file))
}

fn begin(
    home: &Path,
    name: &str,
    program: &str,
    backend: &str,
    settings: &[&str],
    file: Option<&Path>,
) -> (Process, String) {
    let store = format!("sqlite://{}", home.join(format!("{name}.db")).display());
    let mut pinned = Command::new("taskset");
    pinned
        .args(["-c", "0", program, "--proxy-workers", "1", "--store-url", &store])
        .args([
            "--pipe-listen",
            "127.0.0.1:0",
            "--api-listen",
            "127.0.0.1:0",
            "--proxy-http",
            "127.0.0.1:0",
            "--log-level",
            "error",
        ])
        .stdout(Stdio::piped());
    if let Some(file) = file {
        pinned.arg("--config").arg(file);
    }
    let mut process = Process(pinned.spawn().expect("the program runs"));
    let mut said = BufReader::new(process.0.stdout.take().expect("its output is piped")).lines().map_while(Result::ok);
    let mut address = |name: &str| {
        let line = said.find(|line| line.trim_start().starts_with(name)).expect("it says where it listens");
        line.split_whitespace().nth(1).expect("an address").to_owned()
    };
    let (pipe, proxy) = (address("pipe"), address(if file.is_some() { "https" } else { "proxy" }));
    route(&pipe, backend, settings);
    (process, proxy)
}

/// Registers, and applies the one route and its settings.
fn route(pipe: &str, backend: &str, settings: &[&str]) {
    let mut reader = BufReader::new(TcpStream::connect(pipe).expect("the pipe accepts"));
    let mut ask = |line: String, expected: &str| {
        writeln!(reader.get_mut(), "{line}").expect("sent");
        let mut reply = String::new();
        reader.read_line(&mut reply).expect("a reply");
        reply.trim_end().strip_prefix(expected).unwrap_or_else(|| panic!("{line}: {reply}")).to_owned()
    };
    let session = ask("REGISTER|shop|shop-1|0|{}".to_owned(), "ACK|");
    ask(format!("ROUTE_ADD|{session}|shop.example,localhost|/|http://{backend}|0"), "ROUTE_OK|");
    for setting in settings {
        let verb = setting.split('_').next().expect("a verb");
        ask(setting.replace("{session}", &session), verb);
    }
    ask(format!("CONFIG_APPLY|{session}"), "OK");
}
