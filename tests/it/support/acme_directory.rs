//! A certificate authority with a directory for ACME (RFC 8555), whose behaviour a test decides.
//!
//! It proves control of names as a real one does, and issues real certificates. It does not check the signatures of
//! requests, except that of an external account.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::acme_proofs::is_proven;
use super::backend::Backend;
use super::server_harness::Gate;
use super::tls::{Authority, TlsFront};
use super::wire::{Message, Wire};

/// A running directory.
pub struct AcmeDirectory {
    /// The authority, also of the directory's own certificate.
    pub authority: Arc<Authority>,
    front: TlsFront,
    state: Arc<Mutex<State>>,
}

/// The behaviour, which may change at any time.
pub struct Behaviour {
    /// The kinds of challenges of each authorization.
    pub offers: Vec<&'static str>,
    /// The lifetime of certificates.
    pub lifetime: Duration,
    /// The renewal window of a name's certificate in seconds from now; `None` if the directory has none.
    pub window: Option<Window>,
    /// The external account that it asks for.
    pub external_account: Option<(&'static str, Vec<u8>)>,
    /// `meta` of the directory.
    pub meta: Value,
    /// Only each request of this number has a good nonce.
    pub good_nonce_each: u64,
    /// The http and the https port of the server that proves control of names.
    pub ports: Option<(SocketAddr, SocketAddr)>,
    /// A folder with a file for each TXT record.
    pub records: PathBuf,
    /// Proofs are looked at once it is open.
    pub hold: Option<Gate>,
    /// Answers in place of the directory.
    pub answer: Option<Answer>,
}

/// Returns the beginning and the end of the window of a name.
pub type Window = fn(&str) -> (i64, i64);

pub type Answer = Arc<dyn Fn(&Heard) -> Option<Fault> + Send + Sync>;

/// An answer in place of the right one.
pub enum Fault {
    /// These bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// The right answer with another URL in place of each one.
    Url(String),
    /// A problem (RFC 8555 §6.7) with its status and further fields of the head.
    Problem(u16, &'static str, &'static str),
    /// The right answer with further fields of its head.
    Fields(&'static str),
    /// No answer before the gate is open.
    Wait(Gate),
}

/// A request that was heard.
#[derive(Clone, Debug)]
pub struct Heard {
    /// The resource: the first segment of the path, such as `newOrder`.
    pub resource: String,
    /// The name that it is about, if any.
    pub name: String,
    pub payload: Value,
    pub at: Instant,
}

struct State {
    behaviour: Behaviour,
    heard: Vec<Heard>,
    orders: Vec<Order>,
    /// Thumbprints of account keys by account URL.
    accounts: HashMap<String, String>,
    requests: u64,
}

/// An order with its only authorization.
#[derive(Clone, Default)]
struct Order {
    name: String,
    status: &'static str,
    account: String,
    replaces: Option<String>,
    /// The kind of the challenge that is under way or has ended.
    begun: Option<String>,
    error: Option<Value>,
    certificate: Option<String>,
    /// The identifier of the certificate (RFC 9773 §4.1).
    identifier: Option<String>,
}

impl AcmeDirectory {
    pub fn start(change: impl FnOnce(&mut Behaviour)) -> Self {
        let mut behaviour = Behaviour {
            offers: vec!["http-01", "tls-alpn-01", "dns-01"],
            lifetime: Duration::from_hours(2160),
            window: None,
            external_account: None,
            meta: json!({}),
            good_nonce_each: 1,
            ports: None,
            records: PathBuf::new(),
            hold: None,
            answer: None,
        };
        change(&mut behaviour);
        let (orders, accounts) = (Vec::new(), HashMap::new());
        let state = Arc::new(Mutex::new(State { behaviour, heard: Vec::new(), orders, accounts, requests: 0 }));
        let authority = Arc::new(Authority::new());
        let (served, issuer) = (Arc::clone(&state), Arc::clone(&authority));
        let backend = Backend::new(move |mut wire| serve(&mut wire, &served, &issuer));
        let front = TlsFront::before(backend.address(), &authority.certify("127.0.0.1"));
        Self { authority, front, state }
    }

    /// The URL of the directory.
    pub fn url(&self) -> String {
        format!("{}/directory", self.front.url("127.0.0.1"))
    }

    pub fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.state.lock().unwrap().behaviour);
    }

    /// Answers in place of the directory from now on.
    pub fn answer(&self, answer: impl Fn(&Heard) -> Option<Fault> + Send + Sync + 'static) {
        self.change(|behaviour| behaviour.answer = Some(Arc::new(answer)));
    }

    /// Returns the requests for a resource so far.
    pub fn heard(&self, resource: &str) -> Vec<Heard> {
        let state = self.state.lock().unwrap();
        state.heard.iter().filter(|heard| heard.resource == resource).cloned().collect()
    }

    /// Returns the names of all orders so far, in their order.
    pub fn ordered(&self) -> Vec<String> {
        self.state.lock().unwrap().orders.iter().map(|order| order.name.clone()).collect()
    }

    /// Returns the identifiers of the certificates for a name so far.
    pub fn issued(&self, name: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let of_name = state.orders.iter().filter(|order| order.name == name);
        of_name.filter_map(|order| order.identifier.clone()).collect()
    }

    /// Returns the URL and the thumbprint of the only account.
    pub fn account(&self) -> (String, String) {
        let state = self.state.lock().unwrap();
        assert_eq!(state.accounts.len(), 1);
        state.accounts.iter().next().map(|(url, thumbprint)| (url.clone(), thumbprint.clone())).unwrap()
    }
}

fn serve(wire: &mut Wire, state: &Arc<Mutex<State>>, issuer: &Authority) {
    while let Some(request) = wire.message() {
        let heard = hear(&request, state);
        let fault = state.lock().unwrap().behaviour.answer.clone().and_then(|answer| answer(&heard));
        let base = format!("https://{}", request.field("host").unwrap());
        let answer = || {
            let call = Call { state, issuer, base: &base, path: request.target(), heard: &heard };
            call.answer(&protected(&request))
        };
        let nonce = format!("replay-nonce: n{}\r\n", state.lock().unwrap().requests);
        let bytes = match fault {
            None => answer().bytes(&nonce),
            Some(Fault::Bytes(bytes)) => {
                wire.send(bytes);
                return;
            }
            Some(Fault::Url(url)) => with_urls(answer(), &url).bytes(&nonce),
            Some(Fault::Fields(fields)) => answer().bytes(&format!("{nonce}{fields}")),
            Some(Fault::Problem(status, kind, fields)) => problem(status, kind).bytes(&format!("{nonce}{fields}")),
            Some(Fault::Wait(gate)) => {
                gate.wait();
                return;
            }
        };
        if !wire.send(bytes) {
            return;
        }
    }
}

fn decoded(text: &Value) -> Value {
    let bytes = BASE64.decode(text.as_str().unwrap_or_default()).unwrap();
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn protected(request: &Message) -> Value {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    decoded(&body["protected"])
}

/// Notes a request.
fn hear(request: &Message, state: &Mutex<State>) -> Heard {
    let mut segments = request.target().split('/').skip(1);
    let resource = segments.next().unwrap_or_default().to_owned();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let payload = decoded(&body["payload"]);
    let mut state = state.lock().unwrap();
    state.requests += 1;
    let part = segments.next().unwrap_or_default();
    let is_about = |order: &&Order| order.identifier.as_deref() == Some(part);
    let order =
        part.parse().ok().and_then(|at: usize| state.orders.get(at)).or_else(|| state.orders.iter().find(is_about));
    let name = match (order, resource.as_str()) {
        (_, "newOrder") => payload["identifiers"][0]["value"].as_str().unwrap_or_default().to_owned(),
        (Some(order), "order" | "authorization" | "challenge" | "finalize" | "certificate" | "renewalInfo") => {
            order.name.clone()
        }
        _ => String::new(),
    };
    let heard = Heard { resource, name, payload, at: Instant::now() };
    state.heard.push(heard.clone());
    heard
}

/// An answer before it is written.
struct Reply {
    status: u16,
    fields: String,
    body: Value,
}

impl Reply {
    fn bytes(&self, fields: &str) -> Vec<u8> {
        let body = match &self.body {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            json => json.to_string(),
        };
        let (status, own, length) = (self.status, &self.fields, body.len());
        format!("HTTP/1.1 {status} So\r\n{own}{fields}content-length: {length}\r\n\r\n{body}").into_bytes()
    }
}

fn reply(status: u16, body: Value) -> Reply {
    Reply { status, fields: String::new(), body }
}

fn problem(status: u16, kind: &str) -> Reply {
    reply(status, json!({"type": format!("urn:ietf:params:acme:error:{kind}"), "detail": format!("because of {kind}")}))
}

fn with_urls(mut right: Reply, url: &str) -> Reply {
    fn replace(value: &mut Value, url: &str) {
        match value {
            Value::String(text) if text.starts_with("https://") => url.clone_into(text),
            Value::Array(items) => items.iter_mut().for_each(|item| replace(item, url)),
            Value::Object(fields) => fields.values_mut().for_each(|field| replace(field, url)),
            _ => {}
        }
    }
    replace(&mut right.body, url);
    if right.fields.starts_with("location:") {
        right.fields = format!("location: {url}\r\n");
    }
    right
}

/// A request with what its answer needs.
struct Call<'a> {
    state: &'a Arc<Mutex<State>>,
    issuer: &'a Authority,
    base: &'a str,
    path: &'a str,
    heard: &'a Heard,
}

impl Call<'_> {
    fn answer(&self, protected: &Value) -> Reply {
        let resource = self.heard.resource.as_str();
        if !matches!(resource, "directory" | "newNonce" | "renewalInfo") {
            let state = self.state.lock().unwrap();
            if !state.requests.is_multiple_of(state.behaviour.good_nonce_each) {
                return problem(400, "badNonce");
            }
            let known = protected["kid"].as_str().is_some_and(|kid| state.accounts.contains_key(kid));
            if resource != "newAccount" && !known {
                return problem(400, "accountDoesNotExist");
            }
        }
        match resource {
            "directory" => self.directory(),
            "newNonce" => reply(200, Value::Null),
            "newAccount" => self.new_account(protected),
            "newOrder" => self.new_order(protected["kid"].as_str().unwrap()),
            "renewalInfo" => self.window(),
            // Its contacts change.
            "account" => reply(200, json!({"status": "valid"})),
            _ => self.of_order(resource),
        }
    }

    fn directory(&self) -> Reply {
        let state = self.state.lock().unwrap();
        let mut body = json!({"meta": state.behaviour.meta});
        for resource in ["newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"] {
            body[resource] = format!("{}/{resource}", self.base).into();
        }
        if state.behaviour.window.is_some() {
            body["renewalInfo"] = format!("{}/renewalInfo", self.base).into();
        }
        reply(200, body)
    }

    fn new_account(&self, protected: &Value) -> Reply {
        let mut state = self.state.lock().unwrap();
        if let Some((kid, key)) = &state.behaviour.external_account
            && !is_bound(&self.heard.payload["externalAccountBinding"], kid, key)
        {
            return problem(401, "externalAccountRequired");
        }
        let key = &protected["jwk"];
        let canonical = format!(r#"{{"crv":{},"kty":{},"x":{},"y":{}}}"#, key["crv"], key["kty"], key["x"], key["y"]);
        let url = format!("{}/account/{}", self.base, state.accounts.len());
        state.accounts.insert(url.clone(), BASE64.encode(Sha256::digest(canonical)));
        Reply { status: 201, fields: format!("location: {url}\r\n"), body: json!({"status": "valid"}) }
    }

    fn new_order(&self, account: &str) -> Reply {
        let mut state = self.state.lock().unwrap();
        let replaces = self.heard.payload["replaces"].as_str().map(str::to_owned);
        let (name, account) = (self.heard.name.clone(), account.to_owned());
        let order = Order { name, account, replaces, status: "pending", ..Order::default() };
        let at = state.orders.len();
        state.orders.push(order);
        let location = format!("location: {}/order/{at}\r\n", self.base);
        Reply { status: 201, fields: location, body: self.order_body(&state.orders[at], at) }
    }

    /// Answers a request about an order or a part of it.
    fn of_order(&self, resource: &str) -> Reply {
        let mut segments = self.path.split('/').skip(2);
        let Some(at) = segments.next().and_then(|number| number.parse::<usize>().ok()) else {
            return problem(404, "malformed");
        };
        let mut state = self.state.lock().unwrap();
        match resource {
            "order" => reply(200, self.order_body(&state.orders[at], at)),
            "authorization" => reply(200, self.authorization_body(&state, at)),
            "challenge" => {
                let kind = segments.next().unwrap();
                state.orders[at].begun = Some(kind.to_owned());
                self.look_at_proof(&state, at, kind);
                reply(200, self.challenge_body(&state.orders[at], at, kind))
            }
            "finalize" => {
                let request = BASE64.decode(self.heard.payload["csr"].as_str().unwrap()).unwrap();
                let issued = self.issuer.issue_requested(&request, state.behaviour.lifetime);
                let order = &mut state.orders[at];
                assert_eq!((order.status, &issued.names), ("ready", &vec![order.name.clone()]));
                order.status = "valid";
                (order.certificate, order.identifier) = (Some(issued.pem), Some(issued.identifier));
                reply(200, self.order_body(&state.orders[at], at))
            }
            "certificate" => reply(200, state.orders[at].certificate.clone().into()),
            _ => problem(404, "malformed"),
        }
    }

    fn order_body(&self, order: &Order, at: usize) -> Value {
        let base = self.base;
        let mut body = json!({
            "status": order.status,
            "identifiers": [{"type": "dns", "value": order.name}],
            "authorizations": [format!("{base}/authorization/{at}")],
            "finalize": format!("{base}/finalize/{at}"),
        });
        if let Some(replaces) = &order.replaces {
            body["replaces"] = replaces.as_str().into();
        }
        if order.certificate.is_some() {
            body["certificate"] = format!("{base}/certificate/{at}").into();
        }
        body
    }

    fn authorization_body(&self, state: &State, at: usize) -> Value {
        let order = &state.orders[at];
        let bare = order.name.strip_prefix("*.");
        let offers = state.behaviour.offers.iter().filter(|kind| bare.is_none() || kind.starts_with("dns"));
        let challenges: Vec<Value> = offers.map(|kind| self.challenge_body(order, at, kind)).collect();
        json!({
            "identifier": {"type": "dns", "value": bare.unwrap_or(&order.name)},
            "status": match order.status { "ready" => "valid", other => other },
            "wildcard": bare.is_some(),
            "challenges": challenges,
        })
    }

    fn challenge_body(&self, order: &Order, at: usize, kind: &str) -> Value {
        let is_begun = order.begun.as_deref() == Some(kind);
        let status = if is_begun && order.status == "pending" { "processing" } else { order.status };
        let mut body = json!({
            "type": kind,
            "url": format!("{}/challenge/{at}/{kind}", self.base),
            "status": match status { "ready" => "valid", other => other },
        });
        if kind == "dns-persist-01" {
            body["issuerDomainNames"] = json!(["ca.example"]);
        } else {
            body["token"] = format!("token-{at}-{kind}").into();
        }
        if let Some(error) = order.error.as_ref().filter(|_| is_begun) {
            body["error"] = error.clone();
        }
        body
    }

    /// Looks at a proof, and decides on the order.
    fn look_at_proof(&self, state: &State, at: usize, kind: &str) {
        let order = state.orders[at].clone();
        let key_authorization = format!("token-{at}-{kind}.{}", state.accounts[&order.account]);
        let (hold, records) = (state.behaviour.hold.clone(), state.behaviour.records.clone());
        let (shared, kind) = (Arc::clone(self.state), kind.to_owned());
        thread::spawn(move || {
            if let Some(gate) = hold {
                gate.wait();
            }
            let ports = shared.lock().unwrap().behaviour.ports.unwrap();
            let name = order.name.trim_start_matches("*.");
            let is_wildcard = name.len() < order.name.len();
            let account = (&*order.account, is_wildcard);
            let proven = is_proven(&kind, name, &key_authorization, account, ports, &records);
            let mut state = shared.lock().unwrap();
            let order = &mut state.orders[at];
            order.status = if proven { "ready" } else { "invalid" };
            let detail = format!("{kind} does not prove {name}");
            order.error =
                (!proven).then(|| json!({"type": "urn:ietf:params:acme:error:incorrectResponse", "detail": detail}));
        });
    }

    fn window(&self) -> Reply {
        let state = self.state.lock().unwrap();
        let asked = self.path.rsplit('/').next().unwrap();
        let order = state.orders.iter().find(|order| order.identifier.as_deref() == Some(asked));
        let (Some(order), Some(window)) = (order, state.behaviour.window) else { return problem(404, "malformed") };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().cast_signed();
        let (start, end) = window(&order.name);
        let at = |seconds: i64| jiff::Timestamp::from_second(now + seconds).unwrap().to_string();
        reply(200, json!({"suggestedWindow": {"start": at(start), "end": at(end)}}))
    }
}

/// Returns true if the binding to an external account is signed with its key (RFC 8555 §7.3.4).
fn is_bound(binding: &Value, kid: &str, key: &[u8]) -> bool {
    let part = |name: &str| binding[name].as_str().unwrap_or_default();
    let signed = format!("{}.{}", part("protected"), part("payload"));
    decoded(&binding["protected"])["kid"] == kid && part("signature") == BASE64.encode(hmac(key, signed.as_bytes()))
}

/// HMAC with SHA-256 (RFC 2104), for keys of at most 64 bytes.
fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).unwrap_or(&0) ^ pad).collect() };
    let inner = Sha256::digest([&padded(0x36)[..], text].concat());
    Sha256::digest([&padded(0x5c)[..], &inner[..]].concat()).to_vec()
}
