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

/// Starts it on core 0 for the URL of a backend, with its store in `home` under `name`, and with these settings. Returns it with the address for requests.
pub fn start(home: &Path, name: &str, program: &str, backend: &str, settings: &[&str]) -> (Process, String) {
    let (process, addresses) = begin(home, name, program, backend, settings, &[]);
    (process, addresses.proxy)
}

/// Starts it for https, with the files `cert` and `key` in `home` and further lines for `[proxy]`. Returns it with the address for such requests.
pub fn start_secure(home: &Path, name: &str, program: &str, backend: &str, further: &str) -> (Process, String) {
    let file = home.join(format!("{name}.toml"));
    let tls = format!("[[tls]]\ncert = \"{0}/cert\"\nkey = \"{0}/key\"\n", home.display());
    std::fs::write(&file, format!("[proxy]\nhttps = \"127.0.0.1:0\"\n{further}\n{tls}")).expect("a configuration");
    let flags = ["--config", &file.display().to_string()];
    let (process, addresses) = begin(home, name, program, backend, &[], &flags);
    (process, addresses.https.expect("it speaks https"))
}

/// Starts it with further flags. Returns it with the addresses for requests and of the API.
pub fn start_with(home: &Path, name: &str, program: &str, backend: &str, flags: &[&str]) -> (Process, String, String) {
    let (process, addresses) = begin(home, name, program, backend, &[], flags);
    (process, addresses.proxy, addresses.api)
}

struct Addresses {
    api: String,
    proxy: String,
    https: Option<String>,
}

fn begin(
    home: &Path,
    name: &str,
    program: &str,
    backend: &str,
    settings: &[&str],
    flags: &[&str],
) -> (Process, Addresses) {
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
        .args(flags)
        .stdout(Stdio::piped());
    let mut process = Process(pinned.spawn().expect("the program runs"));
    let lines = BufReader::new(process.0.stdout.take().expect("its output is piped")).lines().map_while(Result::ok);
    let said: Vec<String> = lines.take_while(|line| !line.trim_start().starts_with("store")).collect();
    let address = |name: &str| {
        let line = said.iter().find(|line| line.trim_start().starts_with(name))?;
        line.split_whitespace().nth(1).map(str::to_owned)
    };
    let known = |name: &str| address(name).expect("it says where it listens");
    route(&known("pipe"), backend, settings);
    (process, Addresses { api: known("api"), proxy: known("proxy"), https: address("https") })
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
    ask(format!("ROUTE_ADD|{session}|shop.example,localhost|/|{backend}|0"), "ROUTE_OK|");
    for setting in settings {
        let verb = setting.split('_').next().expect("a verb");
        ask(setting.replace("{session}", &session), verb);
    }
    ask(format!("CONFIG_APPLY|{session}"), "OK");
}
