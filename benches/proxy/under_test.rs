//! The proxy under test: the real program, with one worker and one route that was applied over the pipe.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Process;

/// Starts it on core 0, with its store in `home`. Where it takes requests.
pub fn start(home: &Path, backend: &str) -> (Process, String) {
    let store = format!("sqlite://{}", home.join("signalbox.db").display());
    let mut program = Command::new("taskset");
    program
        .args(["-c", "0", env!("CARGO_BIN_EXE_signalbox"), "--proxy-workers", "1", "--store-url", &store])
        .args(["--pipe-listen", "127.0.0.1:0", "--proxy-http", "127.0.0.1:0", "--log-level", "error"])
        .stdout(Stdio::piped());
    let mut process = Process(program.spawn().expect("the program runs"));
    let mut said = BufReader::new(process.0.stdout.take().expect("its output is piped")).lines().map_while(Result::ok);
    let mut address = |name: &str| {
        let line = said.find(|line| line.trim_start().starts_with(name)).expect("it says where it listens");
        line.split_whitespace().nth(1).expect("an address").to_owned()
    };
    let (pipe, proxy) = (address("pipe"), address("proxy"));
    route(&pipe, backend);
    (process, proxy)
}

/// Registers, and applies the one route.
fn route(pipe: &str, backend: &str) {
    let mut reader = BufReader::new(TcpStream::connect(pipe).expect("the pipe accepts"));
    let mut ask = |line: String, expected: &str| {
        writeln!(reader.get_mut(), "{line}").expect("sent");
        let mut reply = String::new();
        reader.read_line(&mut reply).expect("a reply");
        reply.trim_end().strip_prefix(expected).unwrap_or_else(|| panic!("{line}: {reply}")).to_owned()
    };
    let session = ask("REGISTER|shop|shop-1|0|{}".to_owned(), "ACK|");
    ask(format!("ROUTE_ADD|{session}|shop.example|/|http://{backend}|0"), "ROUTE_OK|");
    ask(format!("CONFIG_APPLY|{session}"), "OK");
}
