//! A running server with instances of the service `shop`, and backends whose answers a test decides.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Condvar, Mutex};

use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Client, Server};
use crate::support::backend::Backend;
use crate::support::wire::{Message, Wire};

/// A server with four proxy workers, on a database that survives restarts.
pub struct ServerHarness {
    folder: TempDir,
    server: Option<Server>,
}

/// An instance with a connection that is bound to its session.
pub struct Instance {
    pub client: Client,
    pub session: String,
}

const WORKERS: &[&str] = &["--proxy-workers", "4"];

impl ServerHarness {
    pub fn open() -> Self {
        Self::with(&[])
    }

    /// The same, with further flags until it is started again.
    pub fn with(flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Some(Server::start_with(folder.path(), &[WORKERS, flags].concat()));
        Self { folder, server }
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Registers an instance with one active route, `r1`, for every host and path.
    pub fn instance(&self, name: &str, backend: &Backend) -> Instance {
        let mut instance = self.empty(name);
        instance.add("*", "/", &backend.url());
        instance.apply();
        instance
    }

    pub fn empty(&self, name: &str) -> Instance {
        let mut client = self.server().connect();
        let session = client.register("shop", name);
        Instance { client, session }
    }

    /// Requests a path of host `a` on a new connection.
    pub fn get(&self, path: &str) -> Message {
        self.get_of("a", path)
    }

    pub fn get_of(&self, host: &str, path: &str) -> Message {
        self.asking(host, path).message().expect("no answer")
    }

    /// Sends a request on a new connection and returns the connection.
    pub fn asking(&self, host: &str, path: &str) -> Wire {
        let mut wire = self.connect();
        wire.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        wire
    }

    pub fn connect(&self) -> Wire {
        Wire::connect(self.server().proxy)
    }

    pub fn status(&self, path: &str) -> u16 {
        self.get(path).status()
    }

    /// Sends an operator's request to the API and returns the status.
    pub fn operate(&self, method: &str, target: &str, body: &str) -> u16 {
        let mut wire = Wire::connect(self.server().api);
        let kind = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let length = body.len();
        wire.send(format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\n{kind}content-length: {length}\r\n\r\n{body}"
        ));
        wire.message().expect("the API answers").status()
    }

    /// Returns the JSON that the API answers to an operator's GET.
    pub fn told(&self, target: &str) -> Value {
        let mut wire = Wire::connect(self.server().api);
        wire.send(format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
        let answer = wire.message().expect("the API answers");
        assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Kills the server and starts it again on the same store.
    pub fn crash(&mut self) {
        self.server.take().unwrap().kill();
        self.server = Some(Server::start_with(self.folder.path(), WORKERS));
    }

    /// Stops the server and starts it again on the same store.
    pub fn restart(&mut self) {
        self.server.take().unwrap().terminate();
        self.server = Some(Server::start_with(self.folder.path(), WORKERS));
    }

    /// Binds a new connection to the session of an instance after a restart.
    pub fn reconnect(&self, instance: &mut Instance) {
        instance.client = self.server().connect();
        instance.expect("RECONNECT", "", "OK");
    }
}

impl Instance {
    /// Sends `verb|session|rest`.
    pub fn ask(&mut self, verb: &str, rest: &str) -> String {
        let separator = if rest.is_empty() { "" } else { "|" };
        self.client.ask(&format!("{verb}|{}{separator}{rest}", self.session))
    }

    pub fn expect(&mut self, verb: &str, rest: &str, reply: &str) {
        assert_eq!(self.ask(verb, rest), reply, "{verb}|{rest}");
    }

    pub fn add(&mut self, domain: &str, path: &str, backend: &str) {
        let reply = self.ask("ROUTE_ADD", &format!("{domain}|{path}|{backend}|0"));
        assert!(reply.starts_with("ROUTE_OK|r"), "{reply}");
    }

    pub fn apply(&mut self) {
        self.expect("CONFIG_APPLY", "", "OK");
    }

    /// Stages a setting and applies it.
    pub fn set(&mut self, verb: &str, rest: &str) {
        let reply = self.ask(verb, rest);
        assert!(reply.ends_with("_OK"), "{verb}|{rest}: {reply}");
        self.apply();
    }

    /// Sends a command and returns the JSON payload of the reply.
    pub fn payload(&mut self, verb: &str, rest: &str) -> Value {
        let reply = self.ask(verb, rest);
        let json = reply.split_once('|').unwrap_or_else(|| panic!("{reply}")).1;
        serde_json::from_str(json).unwrap_or_else(|_| panic!("{reply}"))
    }

    /// Returns the state of the circuit breaker of `r1`.
    pub fn breaker(&mut self) -> String {
        self.payload("CIRCUIT_BREAKER_STATUS", "r1")["state"].as_str().unwrap().to_owned()
    }

    pub fn in_flight(&mut self) -> u64 {
        self.payload("STATS_GET", "r1")["in_flight"].as_u64().unwrap()
    }
}

/// A backend that answers with the status that was set last.
pub struct StatusBackend {
    pub backend: Backend,
    status: Arc<AtomicU16>,
}

impl StatusBackend {
    pub fn new(status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let now = Arc::clone(&status);
        let backend = Backend::hearing(move |mut wire, tell| {
            while let Some(request) = wire.message() {
                tell(request);
                let status = now.load(Ordering::SeqCst);
                wire.send(format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n"));
            }
        });
        Self { backend, status }
    }

    pub fn set_status(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Returns the number of requests since the last look.
    pub fn heard(&self) -> usize {
        std::iter::from_fn(|| (!self.backend.heard_nothing()).then_some(())).count()
    }
}

/// A gate that holds requests until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    pub fn wait(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }
}

/// A backend that answers with the given status at once if it is 500 or above, and otherwise holds requests at the gate.
pub fn gated(gate: &Gate, status_backend: &Arc<AtomicU16>) -> Backend {
    let (gate, status_backend) = (gate.clone(), Arc::clone(status_backend));
    Backend::hearing(move |mut wire, tell| {
        while let Some(request) = wire.message() {
            let status = status_backend.load(Ordering::SeqCst);
            if status < 500 {
                tell(request);
                gate.wait();
            }
            wire.send(format!("HTTP/1.1 {status} So\r\ncontent-length: 0\r\n\r\n"));
        }
    })
}

/// A backend that accepts an upgrade and echoes all bytes.
pub fn echo() -> Backend {
    Backend::new(|mut wire| {
        if wire.message().is_none() {
            return;
        }
        wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        while let Some(byte) = wire.exactly(1) {
            wire.send(byte);
        }
    })
}
