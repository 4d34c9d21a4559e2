//! TLS with clients of the proxy.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use signalbox::certificates::{CertificateFiles, ServedCertificate};
use signalbox::domain::{Host, Target};

use crate::server::Server;
use crate::shares::connect_from;
use crate::support::PATIENCE;
use crate::support::backend::Backend;
use crate::support::http2_client::Http2Client;
use crate::support::proxy_harness::{ProxyHarness, option, until};
use crate::support::tls::{Authority, Issued, TlsClient, TlsWire};
use crate::support::wire::{Message, Wire};

/// A proxy that speaks TLS, and a client that trusts its certificates.
struct Edge {
    authority: Authority,
    harness: ProxyHarness,
    backend: Backend,
    client: TlsClient,
}

fn served(issued: &Issued) -> ServedCertificate {
    ServedCertificate::from_pem(issued.cert.as_bytes(), issued.key.as_bytes()).unwrap()
}

impl Edge {
    /// Serves `a.example` with everything below it, `b.example`, and the domain `bücher.example`.
    fn new(default: Option<&str>) -> Self {
        let authority = Authority::new();
        let issue = |names: &[&str]| served(&authority.issue_all(names));
        let all = [&["a.example", "*.a.example"][..], &["b.example"], &["xn--bcher-kva.example"]].map(issue);
        Self::with(authority, all.to_vec(), default)
    }

    fn with(authority: Authority, certificates: Vec<ServedCertificate>, default: Option<&str>) -> Self {
        let default = default.map(|name| Host::parse(name).unwrap());
        let mut harness = ProxyHarness::with(|settings| {
            settings.certificates.set_configured(certificates, default.as_ref());
            settings.https_port = Some(8443);
        });
        let backend = Backend::named("shop");
        harness.serve("shop", "one", &backend.url(), &[]);
        let client = TlsClient::trusting(&authority);
        Self { authority, harness, backend, client }
    }

    fn address(&self) -> SocketAddr {
        self.harness.secure_address()
    }

    fn connect(&self, name: &str) -> TlsWire {
        self.client.connect(self.address(), name).unwrap()
    }

    fn raw(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }
}

fn get(wire: &mut TlsWire, host: &str) -> Message {
    wire.send(format!("GET /a HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    wire.message().expect("no answer")
}

/// Everything that the other side sends until it ends.
fn rest(mut socket: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset ends it as well.
    let _ = socket.read_to_end(&mut bytes);
    bytes
}

#[test]
fn requests_over_tls_are_answered_and_their_backend_is_told_https() {
    let mut edge = Edge::new(None);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        for protocols in [vec![], vec!["http/1.1"]] {
            (edge.client.versions, edge.client.protocols) = (vec![version], protocols);
            let mut wire = edge.connect("a.example");
            for host in ["a.example", "a.example:8443", "A.EXAMPLE."] {
                assert_eq!(get(&mut wire, host).status(), 200);
                let heard = edge.backend.heard();
                let port = if host.contains(':') { "8443" } else { "443" };
                assert_eq!(heard.field("x-forwarded-proto"), Some("https"));
                assert_eq!(heard.field("x-forwarded-port"), Some(port));
            }
        }
    }
    assert_eq!(edge.harness.get("a.example", "/").status(), 200);
    assert_eq!(edge.backend.heard().field("x-forwarded-proto"), Some("http"));
    let mut wire = edge.connect("a.example");
    wire.send("GET https://a.example/whole HTTP/1.1\r\nhost: ignored\r\n\r\n");
    assert_eq!(wire.message().unwrap().status(), 200);
    assert_eq!(edge.backend.heard().target(), "/whole");
}

#[test]
fn large_bodies_pass_over_tls_in_both_directions() {
    let authority = Authority::new();
    let own = vec![served(&authority.issue("a.example"))];
    let edge = Edge::with(authority, own, None);
    let mut harness = edge.harness;
    let large: String = "0123456789abcdef".repeat(1 << 16);
    let echo = Backend::hearing(|mut wire, tell| {
        while let Some(message) = wire.message() {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", message.body.len());
            wire.send([head.as_bytes(), &message.body].concat());
            tell(message);
        }
    });
    let key = harness.session("big", "one");
    harness.route(key, 1, "a.example", "/big", &echo.url());
    let mut wire = edge.client.connect(harness.secure_address(), "a.example").unwrap();
    for _ in 0..2 {
        wire.send(format!("POST /big HTTP/1.1\r\nhost: a.example\r\ncontent-length: {}\r\n\r\n{large}", large.len()));
        assert!(wire.message().unwrap().body == large.as_bytes());
    }
}

#[test]
fn one_route_takes_http2_out_for_its_domains_and_no_others() {
    let mut edge = Edge::new(None);
    let key = edge.harness.session("old", "one");
    edge.harness.route(key, 1, "a.example", "/legacy", &edge.backend.url());
    edge.client.protocols = vec!["h2", "http/1.1"];
    let chosen = |edge: &Edge, name: &str| {
        let wire = edge.connect(name);
        wire.stream().conn.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap())
    };
    assert_eq!(chosen(&edge, "a.example").as_deref(), Some("h2"));
    edge.harness.apply(key, vec![option(Target::All, "http2", "false")]);
    for (name, protocol) in [("a.example", "http/1.1"), ("x.a.example", "h2"), ("b.example", "h2")] {
        assert_eq!(chosen(&edge, name).as_deref(), Some(protocol), "{name}");
    }
}

/// Names of handshakes, hosts of requests on their connections, and the statuses.
const COVERED: [(&str, &str, u16); 9] = [
    ("a.example", "a.example", 200),
    ("a.example", "x.a.example", 200),
    ("x.a.example", "a.example", 200),
    ("x.a.example", "y.a.example", 200),
    ("a.example", "y.x.a.example", 421),
    ("a.example", "b.example", 421),
    ("b.example", "a.example", 421),
    ("b.example", "other.example", 421),
    ("xn--bcher-kva.example", "xn--bcher-kva.example", 200),
];

#[test]
fn a_connection_answers_for_the_hosts_that_its_certificate_covers() {
    for default in [None, Some("b.example")] {
        let mut edge = Edge::new(default);
        for (name, host, status) in COVERED {
            let mut wire = edge.connect(name);
            assert_eq!(get(&mut wire, host).status(), status, "{name} {host}");
            // The connection is good for other requests.
            assert_eq!(get(&mut wire, name).status(), 200, "{name}");
        }
        edge.client.protocols = vec!["h2"];
        for (name, host, status) in COVERED {
            let mut client = Http2Client::secure(&edge.client, edge.address(), name);
            assert_eq!(client.get(&format!("https://{host}/")).unwrap().status, status, "{name} {host}");
            assert_eq!(client.get(&format!("https://{name}/")).unwrap().status, 200, "{name}");
        }
    }
    let edge = Edge::new(Some("b.example"));
    for (host, status) in [("b.example", 200), ("other.example", 200), ("127.0.0.1", 200), ("a.example", 421)] {
        let mut wire = edge.client.connect_nameless(edge.address(), "b.example").unwrap();
        assert_eq!(get(&mut wire, host).status(), status, "{host}");
    }
}

#[test]
fn handshakes_that_stall_are_bounded_for_one_address_and_others_get_through() {
    let edge = Edge::new(None);
    // A quarter of the 1,024 of a worker, and some more.
    let stalled: Vec<TcpStream> = (0..280)
        .map(|_| {
            let mut socket = edge.raw();
            // The beginning of a record of a hello.
            let _ = socket.write_all(&[22, 3, 1, 1, 0]);
            socket
        })
        .collect();
    let mut wire = TlsClient::shake(edge.client.session("a.example"), connect_from(2, edge.address())).unwrap();
    assert_eq!(get(&mut wire, "a.example").status(), 200);
    let closed = || {
        let is_closed = |socket: &TcpStream| {
            socket.set_nonblocking(true).unwrap();
            !matches!((&*socket).read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
        };
        stalled.iter().filter(|socket| is_closed(socket)).count()
    };
    until("the others are closed", || closed() == 280 - 256);
}

#[test]
fn a_client_without_a_known_name_is_refused_unless_there_is_a_default() {
    let edge = Edge::new(None);
    for answer in [
        edge.client.connect(edge.address(), "other.example").err(),
        edge.client.connect_nameless(edge.address(), "a.example").err(),
    ] {
        let error = answer.expect("it was accepted").to_string();
        assert!(error.contains("UnrecognisedName"), "{error}");
    }
}

#[test]
fn a_domain_may_require_client_certificates() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let own = authority.issue("closed.example");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (cert, key) = (file("cert", &own.cert), file("key", &own.key));
    let files = CertificateFiles { section: "tls", cert, key, client_ca: Some(file("ca", &authority.pem)) };
    let closed = ServedCertificate::load_named(&files, &[]).unwrap();
    let open = served(&authority.issue_all(&["open.example", "closed.example"]));
    let open = ServedCertificate { names: vec![Host::parse("open.example").unwrap()], ..open };
    let mut edge = Edge::with(authority, vec![closed, open], None);
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        edge.client.versions = vec![version];
        edge.client.own = None;
        // With TLS 1.3 the client hears of the refusal after its own part of the handshake.
        let answer = edge.client.connect(edge.address(), "closed.example").map(|mut wire| {
            wire.send("GET / HTTP/1.1\r\nhost: closed.example\r\n\r\n");
            wire.message().is_some()
        });
        assert!(!answer.unwrap_or(false), "a client without a certificate was answered");
        // Nor does a connection to another domain lead there.
        assert_eq!(get(&mut edge.connect("open.example"), "closed.example").status(), 421);
        assert_eq!(get(&mut edge.connect("open.example"), "open.example").status(), 200);
        edge.client.own = Some(Arc::new(edge.authority.issue("client")));
        assert_eq!(get(&mut edge.connect("closed.example"), "closed.example").status(), 200);
    }
}

#[test]
fn a_beginning_that_is_no_handshake_ends_in_order() {
    let mut edge = Edge::new(None);
    let alert = |bytes: &[u8]| bytes.first() == Some(&21);
    // No record at all, and a handshake that announces more than may come.
    for garbage in [vec![0_u8; 64 * 1024], vec![0xff; 64 * 1024], [&[22, 3, 1, 0, 64][..], &[9; 64]].concat()] {
        let mut socket = edge.raw();
        let _ = socket.write_all(&garbage);
        assert!(rest(socket).is_empty());
    }
    // A record that is too long, and a message that is no hello.
    for broken in [[&[22, 3, 1, 0xff, 0xff][..], &vec![0; 32 * 1024]].concat(), vec![22, 3, 1, 0, 4, 11, 0, 0, 0]] {
        let mut socket = edge.raw();
        let _ = socket.write_all(&broken);
        assert!(alert(&rest(socket)));
    }
    for http in ["GET / HTTP/1.1\r\nhost: a.example\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut wire = Wire::over(edge.raw());
        wire.send(http);
        let answer = wire.message().unwrap();
        assert_eq!(answer.status(), 400);
        assert!(answer.text().contains("https"), "{}", answer.text());
        assert!(wire.has_ended());
    }
    // TLS on the port of http ends without a word that its client could not read.
    let mut hello = Vec::new();
    edge.client.session("a.example").write_tls(&mut hello).unwrap();
    let mut wire = edge.harness.connect();
    wire.send(&hello);
    let mut bytes = Vec::new();
    wire.socket().read_to_end(&mut bytes).expect("a clean end");
    assert!(bytes.is_empty());
    // The better protocol of both, and protocols that are not spoken here.
    edge.client.protocols = vec!["http/1.1", "h2"];
    assert_eq!(edge.connect("a.example").stream().conn.alpn_protocol(), Some(&b"h2"[..]));
    edge.client.protocols = vec!["ftp", "smtp"];
    let error = edge.client.connect(edge.address(), "a.example").err().unwrap().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn a_hello_in_many_pieces_is_a_hello() {
    let edge = Edge::new(None);
    let mut session = edge.client.session("a.example");
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    let mut socket = edge.raw();
    socket.set_nodelay(true).unwrap();
    for byte in hello.chunks(16) {
        socket.write_all(byte).unwrap();
    }
    while session.is_handshaking() {
        session.complete_io(&mut socket).unwrap();
    }
    assert_eq!(get(&mut Wire::on(rustls::StreamOwned::new(session, socket)), "a.example").status(), 200);
}

#[test]
fn a_certificate_that_is_out_of_date_is_served() {
    let authority = Authority::new();
    let past = served(&authority.issue_for_the_past("a.example"));
    let edge = Edge::with(authority, vec![past], None);
    let error = edge.client.connect(edge.address(), "a.example").err().unwrap().to_string();
    assert!(error.contains("certificate expired"), "{error}");
}

#[test]
fn a_route_redirects_to_https_and_tells_clients_to_stay_there() {
    let authority = Authority::new();
    let own = vec![served(&authority.issue("a.example"))];
    let mut edge = Edge::with(authority, own, None);
    let options = [("https_redirect", "true"), ("hsts", "on")];
    let key = edge.harness.session("strict", "one");
    edge.harness.apply(key, options.map(|(name, value)| option(Target::All, name, value)).to_vec());
    edge.harness.route(key, 1, "a.example", "/strict", &edge.backend.url());
    let hsts = |answer: &Message| answer.field("strict-transport-security").map(str::to_owned);

    let answer = edge.harness.get("a.example:8080", "/strict/a?b=c");
    assert_eq!((answer.status(), answer.field("location")), (308, Some("https://a.example:8443/strict/a?b=c")));
    assert_eq!(hsts(&answer), None, "RFC 6797 §7.2");
    let mut wire = edge.connect("a.example");
    wire.send("GET /strict HTTP/1.1\r\nhost: a.example\r\n\r\n");
    let answer = wire.message().unwrap();
    assert_eq!((answer.status(), hsts(&answer).as_deref()), (200, Some("max-age=31536000")));
    assert_eq!(hsts(&get(&mut wire, "a.example")), None, "another route");
}

#[test]
fn the_authority_gets_its_token_over_http_where_everything_else_is_redirected() {
    let mut harness = ProxyHarness::with(|settings| settings.tokens.insert("one", "one.key"));
    let backend = Backend::named("shop");
    harness.serve("shop", "one", &backend.url(), &[("https_redirect", "true")]);
    let (token, other) = ("/.well-known/acme-challenge/one", "/.well-known/acme-challenge/two");
    let answer = harness.get("a.example", token);
    assert_eq!((answer.status(), answer.text()), (200, "one.key"));
    for path in [other, "/"] {
        let answer = harness.get("a.example", path);
        let location = format!("https://a.example{path}");
        assert_eq!((answer.status(), answer.field("location")), (308, Some(&*location)));
    }
}

#[test]
fn a_trusted_proxy_that_speaks_tls_is_not_redirected() {
    let mut harness = ProxyHarness::with(|settings| settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    let backend = Backend::named("shop");
    harness.serve("shop", "one", &backend.url(), &[("https_redirect", "true"), ("hsts", "max-age=5")]);
    let ask =
        |proto: &str| harness.ask(format!("GET / HTTP/1.1\r\nhost: a.example\r\nx-forwarded-proto: {proto}\r\n\r\n"));
    let (plain, secure) = (ask("http"), ask("https"));
    assert_eq!((plain.status(), plain.field("location")), (308, Some("https://a.example/")));
    assert_eq!((secure.status(), secure.field("strict-transport-security")), (200, Some("max-age=5")));
}

#[test]
fn the_program_serves_a_domain_with_a_certificate_of_its_own() {
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    let own = authority.issue_all(&["xn--bcher-kva.example", "*.shop.example"]);
    std::fs::write(folder.path().join("cert.pem"), &own.cert).unwrap();
    std::fs::write(folder.path().join("key.pem"), &own.key).unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let file = format!(
        "[proxy]\nhttps = \"127.0.0.1:0\"\n[[tls]]\ncert = \"{}\"\nkey = \"{}\"\ndomains = [\"Bücher.example\", \"*.shop.example\"]\n",
        at("cert.pem"),
        at("key.pem")
    );
    std::fs::write(folder.path().join("signalbox.toml"), file).unwrap();
    let server = Server::start_with(folder.path(), &["--config", &at("signalbox.toml")]);
    let backend = Backend::named("shop");
    let mut client = server.connect();
    let session = client.register("shop", "one");
    client.ask(&format!("ROUTE_ADD|{session}|bücher.example,*.shop.example|/|{}|0", backend.url()));
    client.ask(&format!("CONFIG_APPLY|{session}"));
    let tls = TlsClient::trusting(&authority);
    for name in ["xn--bcher-kva.example", "a.shop.example"] {
        let mut wire = tls.connect(server.https.unwrap(), name).unwrap();
        assert_eq!(get(&mut wire, name).status(), 200, "{name}");
    }
}
