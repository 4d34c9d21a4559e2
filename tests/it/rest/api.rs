//! A client of the REST interface.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};

use super::description;
use crate::server::Server;
use crate::support::wire::{Message, Wire};

/// A running program and the operations that were called.
pub struct Api {
    pub server: Server,
    pub called: RefCell<BTreeSet<String>>,
    _folder: tempfile::TempDir,
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub message: Message,
    pub json: Value,
}

impl Api {
    pub fn start() -> Self {
        Self::with(&[])
    }

    pub fn with(flags: &[&str]) -> Self {
        Self::launch(|folder| Server::start_with(folder, flags))
    }

    pub fn launch(start: impl FnOnce(&Path) -> Server) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { server: start(folder.path()), called: RefCell::default(), _folder: folder }
    }

    pub fn address(&self) -> SocketAddr {
        self.server.api
    }

    /// Asks on behalf of whoever has `token`; with a body when there is one.
    pub fn ask(&self, method: &str, target: &str, token: &str, body: Option<&Value>) -> Answer {
        let fields = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        match body {
            None => self.send(method, target, &fields, ""),
            Some(body) => {
                self.send(method, target, &format!("{fields}content-type: application/json\r\n"), &body.to_string())
            }
        }
    }

    /// Sends a request with these header fields, and holds the answer against the description.
    pub fn send(&self, method: &str, target: &str, fields: &str, body: &str) -> Answer {
        let length = if body.is_empty() { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let host = self.address();
        let mut wire = Wire::connect(host);
        wire.send(format!(
            "{method} {target} HTTP/1.1\r\nhost: {host}\r\n{fields}{length}connection: close\r\n\r\n{body}"
        ));
        let answer = Answer::of(wire.message().expect("an answer"));
        if let Some(operation) = description::operation(method, target) {
            let has = |name: &str| answer.message.all(&name.to_ascii_lowercase()).next().is_some();
            description::judge(&operation, answer.status, answer.message.field("content-type"), &answer.json, &has);
            self.called.borrow_mut().insert(operation);
        }
        answer
    }

    pub fn register(&self, service: &str, instance: &str) -> String {
        let body = json!({ "service_name": service, "instance_name": instance, "maintenance_port": 9001 });
        let answer = self.ask("POST", "/v1/sessions", "", Some(&body));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json["session_id"].as_str().unwrap().to_owned()
    }

    /// Stages a route and gives its id.
    pub fn route(&self, session: &str, domain: &str, backend: &str) -> String {
        let body = json!({ "domains": [domain], "path": "/", "backend_url": backend });
        let answer = self.ask("POST", "/v1/session/routes", session, Some(&body));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json["route_id"].as_str().unwrap().to_owned()
    }

    pub fn apply(&self, session: &str) -> u64 {
        let answer = self.ask("POST", "/v1/session/config/apply", session, None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["revision"].as_u64().unwrap()
    }

    /// Begins to read a stream of events; the head has come.
    pub fn stream(&self, target: &str, token: &str, fields: &str) -> (Message, Stream) {
        let mut wire = Wire::connect(self.address());
        let host = self.address();
        let token = if token.is_empty() { String::new() } else { format!("authorization: Bearer {token}\r\n") };
        wire.send(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{token}{fields}\r\n"));
        let head = wire.head().expect("a head");
        (head, Stream { wire, text: String::new() })
    }
}

impl Answer {
    fn of(message: Message) -> Self {
        let json = serde_json::from_slice(&message.body).unwrap_or(Value::Null);
        Self { status: message.status(), json, message }
    }

    /// The status, kind and field of a refusal, which must be a problem.
    pub fn problem(&self) -> (u16, &str, &str) {
        assert_eq!(self.message.field("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(self.json["status"], self.status, "{self:?}");
        assert_eq!(self.json["type"], "about:blank");
        assert!(self.json["title"].is_string() && self.json["detail"].is_string(), "{self:?}");
        (self.status, self.json["kind"].as_str().unwrap(), self.json["field"].as_str().unwrap_or_default())
    }

    pub fn detail(&self) -> &str {
        self.json["detail"].as_str().unwrap_or_default()
    }
}

/// An open stream of events.
pub struct Stream {
    wire: Wire,
    text: String,
}

/// An event as it came.
#[derive(Debug, PartialEq)]
pub struct Event {
    pub id: Option<u64>,
    pub name: String,
    pub data: Value,
}

impl Stream {
    /// The next block of lines; `None` when the stream has ended.
    pub fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let chunk = self.wire.chunk()?;
            if chunk.is_empty() {
                return None;
            }
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next event, comments passed over; `None` when the stream has ended.
    pub fn event(&mut self) -> Option<Event> {
        loop {
            let block = self.block()?;
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            if let Some(name) = field("event") {
                let data = field("data").map(|data| serde_json::from_str(data).unwrap()).unwrap_or_default();
                return Some(Event { id: field("id").map(|id| id.parse().unwrap()), name: name.to_owned(), data });
            }
        }
    }
}
