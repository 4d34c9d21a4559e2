//! Services that files list: one program with a configuration file and a folder `conf.d` beside it.

mod collisions;
mod files;
mod restarts;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::server::{Backend, Server, eventually};
use crate::support::wire::Wire;

/// A folder with a configuration file and files of services.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new(config: &str) -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(home.path("conf.d")).unwrap();
        home.write("signalbox.toml", config);
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        // In one step, so that no half of it is read.
        fs::write(self.path("written"), text).unwrap();
        fs::rename(self.path("written"), self.path(name)).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn start(&self) -> Server {
        let mut command = Server::command(self.folder.path());
        command.arg("--config").arg(self.path("signalbox.toml")).args(["--log-format", "json"]);
        Server::launch(command, self.folder.path())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs `signalbox check`; returns its exit status and what it said.
    fn check(&self) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_signalbox"))
            .arg("check")
            .arg(self.path("signalbox.toml"))
            .output()
            .expect("the program runs");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    }
}

/// A service with one instance, which has the service's name.
fn service(name: &str, backend: &Backend) -> String {
    service_at(name, &format!("{name}.example"), backend)
}

fn service_at(name: &str, domain: &str, backend: &Backend) -> String {
    format!("[[services]]\nname = \"{name}\"\nbackend = \"http://{}\"\ndomains = [\"{domain}\"]\n", backend.address)
}

fn operate(server: &Server, method: &str, target: &str) -> (u16, Value) {
    let mut wire = Wire::connect(server.api);
    wire.send(format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"));
    let answer = wire.message().expect("the API answers");
    (answer.status(), serde_json::from_slice(&answer.body).unwrap_or_default())
}

/// The faults that operators see, as `FILE:LINE: MESSAGE` with the last part of the file's path.
fn problems(server: &Server) -> Vec<String> {
    let (_, overview) = operate(server, "GET", "/v1/overview");
    let shown = |problem: &Value| {
        let file = problem["file"].as_str().unwrap().rsplit('/').next().unwrap_or_default().to_owned();
        format!("{file}:{}: {}", problem["line"], problem["message"].as_str().unwrap())
    };
    overview["config_problems"].as_array().unwrap().iter().map(shown).collect()
}

/// Waits until a host is served by a backend, or by nobody.
fn until_served(server: &Server, host: &str, by: Option<&str>) {
    eventually(&format!("{host} is served by {by:?}"), || match (server.get(host, "/"), by) {
        ((200, body), Some(name)) => body.starts_with(name),
        ((status, _), None) => status == 404,
        _ => false,
    });
}
