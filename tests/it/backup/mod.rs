//! Backups are made from running servers, and restored while none runs.

mod exports;
mod kills;
mod making;
mod refused;
mod restoring;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::server::Server;
use crate::support::wire::{Message, Wire};

/// A folder for a store, and what is done to it.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn database(&self) -> PathBuf {
        self.file("signalbox.db")
    }

    fn start(&self) -> Server {
        Server::start(self.path())
    }

    /// The names of the files, without the log of the server.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| name != "log").collect();
        names.sort();
        names
    }

    /// The store that was there before a restore.
    fn kept(&self) -> PathBuf {
        let names = self.names();
        let kept: Vec<&String> =
            names.iter().filter(|name| name.contains(".replaced-") && !name.ends_with("-wal")).collect();
        assert_eq!(kept.len(), 1, "{names:?}");
        self.file(kept[0])
    }

    fn restoring(&self, backup: &Path, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
        let store = format!("sqlite://{}", self.database().display());
        command.arg("restore").arg(backup).args(["--store-url", &store]).args(flags);
        command
    }

    /// Runs `signalbox restore`: what it says, as an error if it fails.
    fn restore(&self, backup: &Path, flags: &[&str]) -> Result<String, String> {
        let ended = self.restoring(backup, flags).output().unwrap();
        let [out, errors] = [ended.stdout, ended.stderr].map(|text| String::from_utf8(text).unwrap());
        if ended.status.success() { Ok(out) } else { Err(errors) }
    }
}

fn asked(api: SocketAddr, method: &str, target: &str) -> Wire {
    let mut wire = Wire::connect(api);
    wire.send(format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"));
    wire
}

fn get(api: SocketAddr, target: &str) -> Message {
    asked(api, "GET", target).message().expect("the API answers")
}

fn json(api: SocketAddr, target: &str) -> Value {
    serde_json::from_slice(&get(api, target).body).unwrap()
}

/// Writes a backup of a server to `file`.
fn back_up(server: &Server, file: &Path) {
    let answer = get(server.api, "/v1/backup");
    assert_eq!(answer.status(), 200, "{}", String::from_utf8_lossy(&answer.body));
    std::fs::write(file, answer.body).unwrap();
}

/// Registers `shop/NAME` with a route for the host NAME.
fn register(server: &Server, name: &str) -> String {
    let mut client = server.connect();
    let session = client.register("shop", name);
    client.serve(&session, name, "/", "127.0.0.1:9".parse().unwrap());
    session
}

/// The instances of a server, sorted.
fn instances(server: &Server) -> Vec<String> {
    let list = json(server.api, "/v1/instances?limit=1000");
    let names = list["items"].as_array().unwrap().iter().map(|item| item["instance_name"].as_str().unwrap().to_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// The log beside a database.
fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}
