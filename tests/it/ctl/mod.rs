//! `signalbox ctl` as a user runs it: the real program against a real server.

mod backups;
mod failures;
mod offline;
mod orders;
mod reads;
mod streams;
mod terminal;

use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::server_harness::ServerHarness;

/// The end of a command.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it prints UTF-8");
        Self {
            code: output.status.code().expect("no signal ended it"),
            out: text(output.stdout),
            err: text(output.stderr),
        }
    }
}

impl Ran {
    /// Returns the JSON document of a command that succeeded.
    pub fn json(&self) -> Value {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks the exit status of a command that failed, and that it printed one plain line.
    pub fn fails(&self, code: i32, words: &str) {
        assert_eq!((self.code, self.out.as_str()), (code, ""), "{self:?}");
        let line = self.err.strip_suffix('\n').expect("a line");
        assert!(line.starts_with("signalbox ctl: ") && line.contains(words), "{words}: {self:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

/// The program with words for `ctl`, without settings of the user who runs the tests.
pub fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
    command.arg("ctl").args(words).stdin(Stdio::null());
    for name in ["SIGNALBOX_CTL_API", "SIGNALBOX_CTL_TOKEN", "SIGNALBOX_CTL_CA", "XDG_CONFIG_HOME", "NO_COLOR"] {
        command.env_remove(name);
    }
    command.env("HOME", "/nowhere").env("TERM", "xterm");
    command
}

/// Runs words of `ctl` without a server.
pub fn run(words: &[&str]) -> Ran {
    command(words).output().unwrap().into()
}

/// Runs words of `ctl` against the API at an address.
pub fn run_at(api: SocketAddr, words: &[&str]) -> Ran {
    let url = format!("http://{api}");
    run(&[words, &["--api", &url]].concat())
}

/// Runs words of `ctl` against a server.
pub fn ctl(harness: &ServerHarness, words: &[&str]) -> Ran {
    run_at(harness.server().api, words)
}
