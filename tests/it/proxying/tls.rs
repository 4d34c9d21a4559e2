//! Backends that are reached over TLS.

use signalbox::connect::BackendTls;
use signalbox::domain::Target;
use signalbox::fetch::CertificatePolicy;

use super::probes::probe;
use crate::server::{Server, eventually};
use crate::support::backend::Backend;
use crate::support::proxy_harness::{ProxyHarness, option};
use crate::support::tls::{Authority, Certificate, TlsFront};

/// A town that trusts an authority beside those of the machine.
fn trusting(authority: &Authority) -> ProxyHarness {
    ProxyHarness::with(|settings| settings.tls = BackendTls::trusting(authority.pem.as_bytes()).unwrap())
}

fn status(authority: &Authority, url: &str, options: &[(&str, &str)]) -> u16 {
    let mut harness = trusting(authority);
    harness.serve("shop", "shop-1", url, options);
    harness.get("a", "/").status()
}

/// Fronts whose certificates do not hold for `localhost`, and why.
fn bad(authority: &Authority, backend: &Backend) -> [(TlsFront, &'static str); 5] {
    let front = |certificate| TlsFront::before(backend.address(), &certificate);
    [
        (front(authority.certify("elsewhere.example")), "its certificate is not for localhost"),
        (front(authority.certify_the_past("localhost")), "its certificate has expired"),
        (front(Certificate::self_signed("localhost")), "its certificate is not signed by a trusted authority"),
        (front(Certificate::own_authority("localhost")), "its certificate is not signed by a trusted authority"),
        (front(Authority::new().certify("localhost")), "its certificate is not signed by a trusted authority"),
    ]
}

#[test]
fn a_backend_with_a_certificate_that_holds_is_reached_by_its_name() {
    let (authority, backend) = (Authority::new(), Backend::named("secure"));
    let front = TlsFront::before(backend.address(), &authority.certify("localhost"));
    let mut harness = trusting(&authority);
    harness.serve("shop", "shop-1", &front.url("localhost"), &[]);
    for _ in 0..3 {
        assert_eq!(harness.get("a", "/").text(), "secure");
        assert_eq!(backend.heard().field("host"), Some("a"));
    }
    let handshakes = front.handshake();
    assert_eq!((handshakes.name.as_deref(), handshakes.protocol.as_deref()), (Some("localhost"), Some("http/1.1")));
    assert_eq!(backend.connections(), 1, "connections are kept");
}

#[test]
fn a_certificate_may_be_of_an_address() {
    let (authority, backend) = (Authority::new(), Backend::named("secure"));
    let front = TlsFront::before(backend.address(), &authority.certify("127.0.0.1"));
    assert_eq!(status(&authority, &front.url("127.0.0.1"), &[]), 200);
    assert_eq!(front.handshake().name, None, "addresses are not named in a handshake");
    assert_eq!(status(&authority, &front.url("localhost"), &[]), 502);
}

#[test]
fn a_certificate_that_does_not_hold_is_a_502_unless_it_is_not_looked_at() {
    let (authority, backend) = (Authority::new(), Backend::named("secure"));
    for (front, why) in bad(&authority, &backend) {
        assert_eq!(status(&authority, &front.url("localhost"), &[]), 502, "{why}");
        assert_eq!(status(&authority, &front.url("localhost"), &[("tls_verify", "false")]), 200, "{why}");
    }
}

#[test]
fn a_certificate_that_one_route_does_not_check_is_checked_for_another() {
    let backend = Backend::named("secure");
    let front = TlsFront::before(backend.address(), &Certificate::self_signed("localhost"));
    let mut harness = ProxyHarness::new();
    let lax = harness.session("shop", "shop-1");
    harness.apply(lax, vec![option(Target::All, "tls_verify", "false")]);
    harness.route(lax, 1, "lax", "/", &front.url("localhost"));
    let strict = harness.session("bank", "bank-1");
    harness.route(strict, 1, "strict", "/", &front.url("localhost"));
    for _ in 0..2 {
        assert_eq!(harness.get("lax", "/").status(), 200);
        assert_eq!(harness.get("strict", "/").status(), 502);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn the_second_connection_resumes_the_session_of_the_first() {
    let authority = Authority::new();
    let backend = Backend::new(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
    });
    let front = TlsFront::before(backend.address(), &authority.certify("localhost"));
    let mut harness = trusting(&authority);
    harness.serve("shop", "shop-1", &front.url("localhost"), &[]);
    let resumed = [(); 2].map(|()| {
        assert_eq!(harness.get("a", "/").text(), "ok");
        front.handshake().resumed
    });
    assert_eq!(resumed, [false, true]);
}

#[test]
fn an_upgrade_passes_through_tls() {
    let authority = Authority::new();
    let backend = Backend::new(|mut wire| {
        wire.head();
        wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
        while let Some(bytes) = wire.exactly(5) {
            wire.send(bytes);
        }
        wire.send("bye");
    });
    let front = TlsFront::before(backend.address(), &authority.certify("localhost"));
    let mut harness = trusting(&authority);
    harness.serve("shop", "shop-1", &front.url("localhost").replace("https", "wss"), &[]);
    let mut wire = harness.connect();
    wire.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello");
    assert_eq!(wire.head().unwrap().status(), 101);
    assert_eq!(wire.exactly(5).unwrap(), b"hello");
    wire.send("again");
    assert_eq!(wire.exactly(5).unwrap(), b"again");
    wire.half_close();
    assert_eq!(wire.exactly(3).unwrap(), b"bye");
}

#[test]
fn a_handshake_that_never_ends_is_a_502_once_connecting_has_taken_too_long() {
    let silent = Backend::new(|mut wire| {
        wire.has_ended();
        wire.exactly(100_000);
    });
    let options = [("connect_timeout", "300ms"), ("retries", "0")];
    let harness = ProxyHarness::serving(&silent.url().replace("http", "https"), &options);
    // Without an end to the handshake there would be no answer at all.
    assert_eq!(harness.get("a", "/").status(), 502);
}

#[test]
fn a_backend_that_does_not_speak_tls_is_a_502() {
    let plain = Backend::new(|mut wire| {
        wire.send("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
        wire.exactly(100_000);
    });
    let url = plain.url().replace("http", "https");
    assert_eq!(ProxyHarness::serving(&url, &[]).get("a", "/").status(), 502);
    let told = probe(&BackendTls::new(), &url, CertificatePolicy::Reported).unwrap_err();
    assert_eq!(told, "no TLS connection: the answer is not TLS");
}

#[test]
fn a_probe_tells_whether_the_certificate_holds() {
    let (authority, backend) = (Authority::new(), Backend::named("secure"));
    let tls = BackendTls::trusting(authority.pem.as_bytes()).unwrap();
    let good = TlsFront::before(backend.address(), &authority.certify("localhost")).url("localhost");
    let seen = |url: &str, trust| probe(&tls, url, trust).map(|fetched| (fetched.status, fetched.tls_valid));
    for trust in [CertificatePolicy::Required, CertificatePolicy::Reported] {
        assert_eq!(seen(&good, trust), Ok((200, true)));
        assert_eq!(seen(&backend.url(), trust), Ok((200, false)), "nothing holds without TLS");
    }
    for (front, why) in bad(&authority, &backend) {
        let url = front.url("localhost");
        assert!(seen(&url, CertificatePolicy::Required).unwrap_err().starts_with(why), "{why}");
        assert_eq!(seen(&url, CertificatePolicy::Reported), Ok((200, false)), "{why}");
        assert_eq!(seen(&url, CertificatePolicy::Ignored), Ok((200, false)), "{why}");
    }
}

#[test]
fn an_authority_is_configured_and_backend_tests_tell_of_certificates() {
    let (authority, backend) = (Authority::new(), Backend::named("secure"));
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).unwrap();
    let server = Server::start_with(folder.path(), &["--backends-ca", ca.to_str().unwrap()]);
    let session = server.connect().register("shop", "shop-1");
    let test = |front: &TlsFront| server.once(&format!("BACKEND_TEST|{session}|{}", front.url("localhost")));
    let good = TlsFront::before(backend.address(), &authority.certify("localhost"));
    let told = test(&good);
    assert!(told.starts_with("BACKEND_OK|") && told.contains("\"tls_valid\":true"), "{told}");
    let bad = TlsFront::before(backend.address(), &Certificate::self_signed("localhost"));
    let told = test(&bad);
    assert!(told.starts_with("BACKEND_OK|") && told.contains("\"tls_valid\":false"), "{told}");
    for (path, url) in [("/", good.url("localhost")), ("/bad", bad.url("localhost"))] {
        assert!(server.once(&format!("ROUTE_ADD|{session}|*|{path}|{url}|0")).starts_with("ROUTE_OK"));
    }
    assert_eq!(server.once(&format!("CONFIG_APPLY|{session}")), "OK");
    assert_eq!(server.get("a", "/"), (200, "secure".to_owned()));
    for _ in 0..3 {
        assert_eq!(server.get("a", "/bad").0, 502);
    }
    let reason = "502: its certificate is not signed by a trusted authority; set tls_verify";
    eventually("the reason is logged", || std::fs::read_to_string(&server.log).unwrap().contains(reason));
    let log = std::fs::read_to_string(&server.log).unwrap();
    let told = log.matches(reason).count();
    let workers = std::thread::available_parallelism().unwrap().get();
    assert!((1..=workers).contains(&told), "told, but not for every request: {log}");
}

#[test]
fn an_authority_that_cannot_be_read_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    for (text, why) in [(None, "No such file"), (Some("nonsense"), "it holds no certificate")] {
        text.into_iter().for_each(|text| std::fs::write(&ca, text).unwrap());
        let ended = Server::command(folder.path()).arg("--backends-ca").arg(&ca).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && said.contains("backends.ca") && said.contains(why), "{said}");
    }
}

#[test]
fn without_trusted_authorities_only_tls_backends_fail() {
    let backend = Backend::named("plain");
    let front = TlsFront::before(backend.address(), &Authority::new().certify("localhost"));
    let folder = tempfile::tempdir().unwrap();
    let mut command = Server::command(folder.path());
    command.env("SSL_CERT_FILE", folder.path().join("none")).env("SSL_CERT_DIR", folder.path());
    let server = Server::launch(command, folder.path());
    let session = server.connect().register("shop", "shop-1");
    for (path, url) in [("/", backend.url()), ("/tls", front.url("localhost"))] {
        assert!(server.once(&format!("ROUTE_ADD|{session}|*|{path}|{url}|0")).starts_with("ROUTE_OK"));
    }
    assert_eq!(server.once(&format!("CONFIG_APPLY|{session}")), "OK");
    assert_eq!((server.get("a", "/").0, server.get("a", "/tls").0), (200, 502));
    let log = || std::fs::read_to_string(&server.log).unwrap();
    eventually("the reason is logged", || log().contains("no trusted authorities are installed here"));
}
