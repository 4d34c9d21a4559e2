//! The PROXY protocol: load balancers tell the client's address at the beginning of a connection.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use signalbox::certificates::ServedCertificate;
use signalbox::domain::{Edit, RateLimit, Span, Target};

use crate::server::{Server, eventually, get};
use crate::support::backend::Backend;
use crate::support::proxy_harness::ProxyHarness;
use crate::support::tls::{Authority, TlsClient};
use crate::support::wire::Wire;

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/// A proxy to which all of loopback must send PROXY headers.
fn told(backend: &Backend, change: impl FnOnce(&mut signalbox::proxy::ProxySettings)) -> ProxyHarness {
    let mut harness = ProxyHarness::with(|settings| {
        settings.proxy_protocol = vec!["127.0.0.0/8".parse().unwrap()];
        change(settings);
    });
    harness.serve("shop", "shop-1", &backend.url(), &[]);
    harness
}

/// A header of version 2 for a client, with a field behind the addresses.
fn binary(command: u8, client: SocketAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    let (family, ip) = match client {
        SocketAddr::V4(v4) => (0x11, v4.ip().octets().to_vec()),
        SocketAddr::V6(v6) => (0x21, v6.ip().octets().to_vec()),
    };
    let fields = [&ip[..], &vec![9; ip.len()], &client.port().to_be_bytes(), &[0, 80], &[0x04, 0, 2, 1, 1]].concat();
    header.extend([command, family]);
    header.extend(u16::try_from(fields.len()).unwrap().to_be_bytes());
    header.extend(fields);
    header
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn the_told_address_is_the_clients_whatever_the_version_and_the_pieces() {
    let backend = Backend::named("b");
    let harness = told(&backend, |_| {});
    let line = |text: &str| text.as_bytes().to_vec();
    let headers = [
        (line("PROXY TCP4 203.0.113.7 127.0.0.1 4000 80\r\n"), "203.0.113.7"),
        (line("PROXY TCP6 2001:db8::7 ::1 4000 80\r\n"), "2001:db8::7"),
        (line("PROXY UNKNOWN\r\n"), "127.0.0.1"),
        (binary(0x21, address("203.0.113.8:4000")), "203.0.113.8"),
        (binary(0x21, address("[2001:db8::8]:4000")), "2001:db8::8"),
        (binary(0x20, address("203.0.113.8:4000")), "127.0.0.1"),
    ];
    for (header, client) in headers {
        let whole = [&header[..], REQUEST.as_bytes()].concat();
        for pieces in [vec![&whole[..]], whole.chunks(1).collect(), vec![&header[..], REQUEST.as_bytes()]] {
            let mut wire = harness.connect();
            pieces.iter().for_each(|piece| assert!(wire.send(piece)));
            assert_eq!(wire.message().unwrap().text(), "b");
            let heard = backend.heard();
            assert_eq!((heard.field("x-forwarded-for"), heard.field("x-real-ip")), (Some(client), Some(client)));
            wire.send(REQUEST);
            assert_eq!(wire.message().unwrap().text(), "b", "the header comes once");
            backend.heard();
        }
    }
}

#[test]
fn a_connection_without_a_proper_header_is_closed_without_an_answer() {
    let backend = Backend::named("b");
    let harness = told(&backend, |_| {});
    for bytes in [REQUEST.as_bytes(), b"PROXY TCP4 1.2.3.4\r\n", b"\x16\x03\x01\x02", &[b'P'; 200]] {
        let mut wire = harness.connect();
        wire.send(bytes);
        assert!(wire.has_ended(), "{:?}", String::from_utf8_lossy(bytes));
    }
    assert!(backend.heard_nothing());
}

#[test]
fn an_unfinished_header_is_waited_for_as_long_as_any_head() {
    let backend = Backend::named("b");
    let harness = told(&backend, |settings| settings.header_timeout = std::time::Duration::from_millis(300));
    for bytes in ["", "PROXY TCP4", "\r\n\r\n"] {
        let mut wire = harness.connect();
        wire.send(bytes);
        assert!(wire.has_ended(), "{bytes:?}");
    }
}

#[test]
fn peers_elsewhere_send_no_header_and_one_from_them_is_no_request() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::with(|settings| settings.proxy_protocol = vec!["127.0.0.2/32".parse().unwrap()]);
    harness.serve("shop", "shop-1", &backend.url(), &[]);
    assert_eq!(harness.ask(REQUEST).text(), "b");
    assert_eq!(backend.heard().field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(harness.ask(format!("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n{REQUEST}")).status(), 400);
}

#[test]
fn the_header_comes_before_the_tls_handshake() {
    let (authority, backend) = (Authority::new(), Backend::named("b"));
    let issued = authority.issue_all(&["a.example"]);
    let served = ServedCertificate::from_pem(issued.cert.as_bytes(), issued.key.as_bytes()).unwrap();
    let harness = told(&backend, |settings| settings.certificates.set_configured(vec![served], None));
    let client = TlsClient::trusting(&authority);
    for header in [b"PROXY TCP4 203.0.113.7 127.0.0.1 4000 443\r\n".to_vec(), binary(0x21, address("203.0.113.7:4000"))]
    {
        let mut socket = TcpStream::connect(harness.secure_address()).unwrap();
        header.chunks(1).for_each(|piece| socket.write_all(piece).unwrap());
        let mut wire = TlsClient::shake(client.session("a.example"), socket).unwrap();
        wire.send("GET / HTTP/1.1\r\nhost: a.example\r\n\r\n");
        assert_eq!(wire.message().unwrap().text(), "b");
        let heard = backend.heard();
        assert_eq!(
            (heard.field("x-forwarded-for"), heard.field("x-forwarded-proto")),
            (Some("203.0.113.7"), Some("https"))
        );
    }
    assert!(client.connect(harness.secure_address(), "a.example").is_err(), "a handshake is no header");
}

#[test]
fn the_networks_follow_a_reload_and_what_is_no_header_is_logged() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("signalbox.toml");
    std::fs::write(&file, "").unwrap();
    // Each worker follows by itself.
    let flags = ["--config", file.to_str().unwrap(), "--proxy-workers", "1"];
    let server = Server::start_with(folder.path(), &flags);
    assert_eq!(server.get("a", "/").0, 404);
    std::fs::write(&file, "[proxy]\nproxy_protocol = [\"127.0.0.0/8\"]\n").unwrap();
    eventually("a header is expected", || get(server.proxy, "a", "/").is_err());
    let mut wire = Wire::connect(server.proxy);
    wire.send(format!("PROXY TCP4 203.0.113.7 127.0.0.1 4000 80\r\n{REQUEST}"));
    assert_eq!(wire.message().unwrap().status(), 404);
    let words = "connections were refused: a peer in proxy.proxy_protocol sent no PROXY header (127.0.0.1:";
    eventually("it is logged", || std::fs::read_to_string(&server.log).unwrap().contains(words));
}

#[test]
fn rates_and_trust_go_by_the_told_address() {
    let backend = Backend::named("b");
    let mut harness = ProxyHarness::with(|settings| {
        settings.proxy_protocol = vec!["127.0.0.0/8".parse().unwrap()];
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()];
    });
    let key = harness.serve("shop", "shop-1", &backend.url(), &[]);
    let limit = RateLimit { requests: 1, window: Span::from_secs(3600) };
    harness.apply(key, vec![Edit::RateLimit(Target::All, Some(limit))]);
    let status = |told: &str, named: &str| {
        let header = format!("PROXY TCP4 {told} 127.0.0.1 4000 80\r\n");
        harness.ask(format!("{header}GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: {named}\r\n\r\n")).status()
    };
    for (told, named, expected) in [
        ("203.0.113.1", "203.0.113.2", 200),
        ("203.0.113.1", "203.0.113.3", 429),
        ("203.0.113.2", "203.0.113.1", 200),
        ("10.0.0.1", "203.0.113.4", 200),
        ("203.0.113.4", "203.0.113.5", 429),
    ] {
        assert_eq!(status(told, named), expected, "{told} for {named}");
    }
}

#[test]
fn limits_count_for_the_told_address() {
    let backend = Backend::hearing(|mut wire, tell| {
        while let Some(request) = wire.message() {
            let is_slow = request.target() == "/slow";
            tell(request);
            if is_slow {
                wire.has_ended();
                return;
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let harness = told(&backend, |settings| (settings.connections_max, settings.address_connections_max) = (20, 2));
    let client = |last: u8| {
        let mut wire = harness.connect();
        wire.send(format!("PROXY TCP4 203.0.113.{last} 127.0.0.1 4000 80\r\n"));
        wire
    };
    let _held = [1, 1].map(|last| {
        let mut wire = client(last);
        wire.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
        backend.heard();
        wire
    });
    assert_eq!(client(1).message().unwrap().status(), 503);
    let mut other = client(2);
    other.send(REQUEST);
    assert_eq!(other.message().unwrap().status(), 200);
}
