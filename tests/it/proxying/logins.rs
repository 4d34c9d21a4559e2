//! Logins that are bound to a connection: only the client that logged in uses them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::backend::Backend;
use crate::support::proxy_harness::{ProxyHarness, until};
use crate::support::wire::{Message, Wire};

/// A backend that knows a user by the connection: it asks for a login in its own words, goes on with one that is begun, and
/// greets whoever the connection belongs to.
struct Intranet {
    backend: Backend,
    ended: Arc<AtomicUsize>,
}

impl Intranet {
    fn new(scheme: &'static str, challenge: &'static str) -> Self {
        Self::named("", scheme, challenge)
    }

    fn named(name: &'static str, scheme: &'static str, challenge: &'static str) -> Self {
        let ended = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&ended);
        let backend = Backend::new(move |mut wire| {
            let mut user = String::from("nobody");
            while let Some(request) = wire.message() {
                let credentials = request.field("authorization").and_then(|field| field.split_once(' '));
                let (status, asks, greeting) = match credentials {
                    Some((_, "begin")) => (401, format!("WWW-Authenticate: {scheme} go-on\r\n"), String::new()),
                    Some((_, named)) => {
                        named.clone_into(&mut user);
                        (200, String::new(), format!("{name}{user}"))
                    }
                    None if user == "nobody" && request.target() == "/private" => {
                        (401, format!("{challenge}\r\n"), String::new())
                    }
                    None => (200, String::new(), format!("{name}{user}")),
                };
                let length = greeting.len();
                wire.send(format!("HTTP/1.1 {status} X\r\n{asks}Content-Length: {length}\r\n\r\n{greeting}"));
            }
            counted.fetch_add(1, Ordering::SeqCst);
        });
        Self { backend, ended }
    }
}

fn ask(wire: &mut Wire, target: &str, credentials: Option<&str>) -> Message {
    let login = credentials.map(|said| format!("authorization: {said}\r\n")).unwrap_or_default();
    wire.send(format!("GET {target} HTTP/1.1\r\nhost: a\r\n{login}\r\n"));
    wire.message().expect("no answer")
}

fn log_in(wire: &mut Wire, scheme: &str, user: &str) -> Message {
    assert_eq!(ask(wire, "/private", Some(&format!("{scheme} begin"))).status(), 401);
    ask(wire, "/private", Some(&format!("{scheme} {user}")))
}

#[test]
fn strangers_are_never_served_as_the_user_that_logged_in() {
    for scheme in ["NTLM", "Negotiate", "ntlm", "NEGOTIATE", "Kerberos"] {
        let intranet = Intranet::new(scheme, "WWW-Authenticate: NTLM");
        let harness = ProxyHarness::serving(&intranet.backend.url(), &[]);
        let mut ann = harness.connect();
        assert_eq!(log_in(&mut ann, scheme, "ann").text(), "ann");
        for _ in 0..12 {
            assert_eq!(harness.get("a", "/").text(), "nobody", "{scheme}");
        }
        assert_eq!(ask(&mut ann, "/", None).text(), "ann", "{scheme}: the login goes on");
    }
}

#[test]
fn users_that_log_in_side_by_side_stay_apart() {
    let intranet = Intranet::new("NTLM", "WWW-Authenticate: NTLM");
    let harness = ProxyHarness::serving(&intranet.backend.url(), &[]);
    let users: Vec<String> = (0..6).map(|number| format!("user-{number}")).collect();
    let mut wires: Vec<Wire> = users.iter().map(|_| harness.connect()).collect();
    for wire in &mut wires {
        ask(wire, "/private", Some("NTLM begin"));
    }
    for (wire, user) in wires.iter_mut().zip(&users) {
        ask(wire, "/private", Some(&format!("NTLM {user}")));
    }
    for _ in 0..2 {
        for (wire, user) in wires.iter_mut().zip(&users) {
            assert_eq!(ask(wire, "/", None).text(), *user);
        }
    }
}

#[test]
fn a_challenge_alone_gives_the_client_a_connection_of_its_own() {
    for challenge in [
        "WWW-Authenticate: NTLM",
        "WWW-Authenticate: Basic realm=\"a, b\", negotiate",
        "WWW-Authenticate: Basic realm=\"a\"\r\nWWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM",
        "Proxy-Authenticate: NTLM",
    ] {
        let intranet = Intranet::new("NTLM", challenge);
        let harness = ProxyHarness::serving(&intranet.backend.url(), &[]);
        let mut ann = harness.connect();
        assert_eq!(ask(&mut ann, "/private", None).status(), 401);
        let connections = intranet.backend.connections();
        assert_eq!(ask(&mut ann, "/", None).text(), "nobody");
        assert_eq!(intranet.backend.connections(), connections, "{challenge}: the client goes on with its own");
        harness.get("a", "/");
        assert_eq!(intranet.backend.connections(), connections + 1, "{challenge}: and nobody else gets it");
    }
}

#[test]
fn logins_of_the_request_share_connections_as_ever() {
    let intranet = Intranet::new("Basic", "WWW-Authenticate: Basic realm=\"ntlm, negotiated\", Bearer");
    let harness = ProxyHarness::serving(&intranet.backend.url(), &[]);
    for _ in 0..3 {
        assert_eq!(harness.get("a", "/private").status(), 401);
    }
    assert_eq!(intranet.backend.connections(), 1);
}

#[test]
fn the_login_ends_with_the_clients_connection() {
    let intranet = Intranet::new("NTLM", "WWW-Authenticate: NTLM");
    let harness = ProxyHarness::serving(&intranet.backend.url(), &[]);
    let mut ann = harness.connect();
    log_in(&mut ann, "NTLM", "ann");
    drop(ann);
    until("the backend's connection has ended", || intranet.ended.load(Ordering::SeqCst) == 1);
    assert_eq!(harness.get("a", "/").text(), "nobody");
}

#[test]
fn a_login_stays_with_its_member_of_the_pool() {
    let [one, two] = ["one:", "two:"].map(|name| Intranet::named(name, "Negotiate", "WWW-Authenticate: Negotiate"));
    let mut harness = ProxyHarness::new();
    harness.serve("shop", "shop-1", &one.backend.url(), &[("load_balancing", "round_robin")]);
    harness.serve("shop", "shop-2", &two.backend.url(), &[("load_balancing", "round_robin")]);
    let mut ann = harness.connect();
    let greeting = log_in(&mut ann, "Negotiate", "ann").text().to_owned();
    assert!(greeting.ends_with(":ann"), "{greeting}");
    for _ in 0..4 {
        assert_eq!(ask(&mut ann, "/", None).text(), greeting);
        harness.get("a", "/");
    }
}

#[test]
fn a_login_whose_connection_the_backend_ended_is_over() {
    let last = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&last);
    let backend = Backend::new(move |mut wire| {
        kept.lock().unwrap().replace(wire.socket().try_clone().unwrap());
        let mut user = String::from("nobody");
        while let Some(request) = wire.message() {
            if let Some(said) = request.field("authorization") {
                said.clone_into(&mut user);
            }
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{user}", user.len()));
        }
    });
    let harness = ProxyHarness::serving(&backend.url(), &[]);
    let mut ann = harness.connect();
    assert_eq!(ask(&mut ann, "/", Some("NTLM ann")).text(), "NTLM ann");
    last.lock().unwrap().take().unwrap().shutdown(std::net::Shutdown::Both).unwrap();
    assert_eq!(ask(&mut ann, "/", None).text(), "nobody");
    assert_eq!(backend.connections(), 2);
}
