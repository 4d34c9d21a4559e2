//! Certificates from an authority by ACME: the real program with a directory whose behaviour a test decides.

mod broken;
mod proofs;
mod records;
mod refusals;
mod reload;
mod renewal;
mod restarts;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Client, Server, eventually};
use crate::support::acme_directory::{AcmeDirectory, Behaviour};
use crate::support::tls::TlsClient;
use crate::support::wire::Wire;

/// A server that gets certificates from a directory.
struct AcmeServer {
    folder: TempDir,
    directory: AcmeDirectory,
    server: Option<Server>,
    client: Option<(Client, String)>,
}

impl AcmeServer {
    /// Starts both, with further lines for `[acme]`.
    fn start(acme: &str, change: impl FnOnce(&mut Behaviour)) -> Self {
        Self::with(acme, "", change)
    }

    /// The same, with further lines for `[proxy]`.
    fn with(acme: &str, proxy: &str, change: impl FnOnce(&mut Behaviour)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let records = folder.path().join("records");
        fs::create_dir(&records).unwrap();
        let directory = AcmeDirectory::start(|behaviour| {
            behaviour.records = records;
            change(behaviour);
        });
        let ca = folder.path().join("ca.pem");
        fs::write(&ca, &directory.authority.pem).unwrap();
        let (url, ca) = (directory.url(), ca.display());
        let text = format!(
            "[proxy]\nhttps = \"127.0.0.1:0\"\nworkers = 1\n{proxy}\n[acme]\ndirectory = \"{url}\"\n\
             domains = [\"shop.example\", \"*.shop.example\"]\nterms_accepted = true\nca = \"{ca}\"\n{acme}\n"
        );
        fs::write(folder.path().join("signalbox.toml"), text).unwrap();
        let mut started = Self { folder, directory, server: None, client: None };
        started.launch();
        started
    }

    fn launch(&mut self) {
        let file = self.folder.path().join("signalbox.toml");
        let server = Server::start_with(self.folder.path(), &["--config", file.to_str().unwrap()]);
        let ports = (server.proxy, server.https.unwrap());
        self.directory.change(|behaviour| behaviour.ports = Some(ports));
        self.server = Some(server);
    }

    /// Writes the configuration anew with some texts in place of others, and lets the server read it.
    fn reconfigure(&self, changes: &[(&str, &str)]) {
        let file = self.folder.path().join("signalbox.toml");
        let mut text = fs::read_to_string(&file).unwrap();
        for (old, new) in changes {
            assert!(text.contains(old), "{text}");
            text = text.replacen(old, new, 1);
        }
        // As a whole: the server may look at any moment.
        fs::write(file.with_extension("new"), text).unwrap();
        fs::rename(file.with_extension("new"), &file).unwrap();
        self.server().signal("HUP");
    }

    /// Kills it and starts it again.
    fn crash(&mut self) {
        self.client = None;
        self.server.take().unwrap().kill();
        self.launch();
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Adds a route for each domain, which is not in force yet.
    fn add(&mut self, domains: &[&str]) {
        if self.client.is_none() {
            let mut client = self.server().connect();
            let session = client.register("shop", "shop-1");
            self.client = Some((client, session));
        }
        let (client, session) = self.client.as_mut().unwrap();
        for domain in domains {
            let reply = client.ask(&format!("ROUTE_ADD|{session}|{domain}|/|http://127.0.0.1:1|0"));
            assert!(reply.starts_with("ROUTE_OK|r"), "{reply}");
        }
    }

    fn apply(&mut self) {
        let (client, session) = self.client.as_mut().unwrap();
        assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    }

    fn serve(&mut self, domains: &[&str]) {
        self.add(domains);
        self.apply();
    }

    /// What operators see of all names.
    fn all_seen(&self) -> Vec<Value> {
        let mut wire = Wire::connect(self.server().api);
        wire.send("GET /v1/certificates?limit=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n");
        let answer: Value = serde_json::from_slice(&wire.message().unwrap().body).unwrap();
        let items = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}")).iter();
        items.filter(|item| item["source"] == "acme").cloned().collect()
    }

    /// What operators see of a name; `Null` if it gets no certificate.
    fn seen(&self, name: &str) -> Value {
        self.all_seen().into_iter().find(|item| item["names"][0] == name).unwrap_or_default()
    }

    /// Returns the error of a name's latest attempt.
    fn error(&self, name: &str) -> Option<String> {
        self.seen(name)["last_error"].as_str().map(str::to_owned)
    }

    /// Waits until an attempt for a name has failed, and returns the error.
    fn failed(&self, name: &str) -> String {
        eventually(&format!("an attempt for {name} fails"), || self.error(name).is_some());
        self.error(name).unwrap()
    }

    /// Returns true if a client that trusts the authority gets a certificate for `host`.
    fn is_served(&self, host: &str) -> bool {
        let client = TlsClient::trusting(&self.directory.authority);
        client.connect(self.server().https.unwrap(), host).is_ok()
    }

    /// Waits until a client gets a certificate for `host`.
    fn served(&self, host: &str) {
        eventually(&format!("a certificate for {host} is served"), || {
            assert!(!self.log().contains("no certificate was obtained"), "{}", self.log());
            self.is_served(host)
        });
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.server().log).unwrap_or_default()
    }
}

/// Waits until something is true that takes many handshakes, and so a while on a busy machine.
fn patiently(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_mins(2);
    while !condition() {
        assert!(Instant::now() < end, "never came true: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the seconds from now until a time that the API tells.
fn seconds_until(time: &Value) -> f64 {
    let time: jiff::Timestamp = time.as_str().unwrap_or_else(|| panic!("{time} is no time")).parse().unwrap();
    time.duration_since(jiff::Timestamp::now()).as_secs_f64()
}
