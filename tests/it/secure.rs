//! TLS on the pipe and on the API port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use tempfile::TempDir;

use crate::server::{Server, eventually};
use crate::support::PATIENCE;
use crate::support::backend::closed_port;
use crate::support::tls::{Authority, Issued};

/// Files for a server whose interfaces speak TLS.
struct Shelf {
    folder: TempDir,
    authority: Authority,
}

impl Shelf {
    fn new() -> Self {
        let shelf = Self { folder: tempfile::tempdir().unwrap(), authority: Authority::new() };
        let own = shelf.authority.issue("localhost");
        shelf.put("cert.pem", &own.cert);
        shelf.put("key.pem", &own.key);
        shelf
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Starts the program; a flag's `@name` is the path of a file here.
    fn start(&self, flags: &[&str]) -> Server {
        let flags: Vec<String> = flags.iter().map(|flag| self.flag(flag)).collect();
        Server::start_with(self.path(), &flags.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn flag(&self, flag: &str) -> String {
        flag.strip_prefix('@').map_or(flag.to_owned(), |name| self.path().join(name).to_str().unwrap().to_owned())
    }

    fn client(&self) -> Trust {
        Trust::in_authority(&self.authority)
    }
}

const PIPE: [&str; 4] = ["--pipe-cert", "@cert.pem", "--pipe-key", "@key.pem"];
const API: [&str; 4] = ["--api-cert", "@cert.pem", "--api-key", "@key.pem"];

/// The TLS settings of a client.
struct Trust {
    roots: RootCertStore,
    versions: Vec<&'static SupportedProtocolVersion>,
    own: Option<Issued>,
    protocols: Vec<Vec<u8>>,
}

impl Trust {
    fn in_authority(authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        Self { roots, versions: rustls::DEFAULT_VERSIONS.to_vec(), own: None, protocols: Vec::new() }
    }

    fn showing(self, own: Issued) -> Self {
        Self { own: Some(own), ..self }
    }

    fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&self.versions).unwrap();
        let builder = builder.with_root_certificates(self.roots.clone());
        let mut config = match &self.own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = vec![CertificateDer::from_pem_slice(own.cert.as_bytes()).unwrap()];
                builder
                    .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap())
                    .unwrap()
            }
        };
        config.alpn_protocols.clone_from(&self.protocols);
        Arc::new(config)
    }

    fn connect(&self, address: SocketAddr) -> Talk {
        Talk::begin(address, self.config())
    }
}

/// A conversation over TLS.
struct Talk(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Talk {
    fn begin(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        Self(BufReader::new(StreamOwned::new(ClientConnection::new(config, name).unwrap(), socket)))
    }

    fn tls(&self) -> &ClientConnection {
        &self.0.get_ref().conn
    }

    fn try_ask(&mut self, line: &str) -> std::io::Result<String> {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes())?;
        self.pushed_line()
    }

    fn ask(&mut self, line: &str) -> String {
        self.try_ask(line).unwrap()
    }

    fn pushed_line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line.trim_end_matches('\n').to_owned())
    }

    fn register(&mut self, instance: &str) -> String {
        let reply = self.ask(&format!("REGISTER|shop|{instance}|9001|{{}}"));
        reply.strip_prefix("ACK|").unwrap_or_else(|| panic!("{reply}")).to_owned()
    }
}

#[test]
fn a_service_registers_over_tls_and_hears_of_the_end() {
    let shelf = Shelf::new();
    let server = shelf.start(&PIPE);
    let config = shelf.client().config();
    let mut talk = Talk::begin(server.pipe, Arc::clone(&config));
    let session = talk.register("shop-1");
    assert_eq!(talk.tls().protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(talk.ask(&format!("PING|{session}")), "PONG");
    for number in 0..300 {
        let added = talk.ask(&format!("ROUTE_ADD|{session}|shop.example|/{number}|http://127.0.0.1:1|0"));
        assert_eq!(added, format!("ROUTE_OK|r{}", number + 1));
    }
    let all = talk.ask(&format!("ROUTE_LIST|{session}"));
    assert!(all.len() > 2 * 16384 && all.ends_with("}]"), "a line of several records is whole: {}", all.len());
    assert_eq!(talk.ask(&"x".repeat(40_000)).split(':').next(), Some("ERROR|unknown command"));
    let mut again = Talk::begin(server.pipe, config);
    assert_eq!(again.ask(&format!("RECONNECT|{session}")), "OK");
    assert_eq!(again.tls().handshake_kind(), Some(HandshakeKind::Resumed));
    let mut older = Trust { versions: vec![&rustls::version::TLS12], ..shelf.client() }.connect(server.pipe);
    older.register("shop-2");
    assert_eq!(older.tls().protocol_version(), Some(ProtocolVersion::TLSv1_2));
    server.signal("TERM");
    for talk in [&mut again, &mut older] {
        assert_eq!(talk.pushed_line().unwrap(), "SHUTDOWN");
        assert_eq!(talk.0.read_to_end(&mut Vec::new()).unwrap(), 0, "the end is said, not only the connection cut");
    }
    assert!(server.wait().success());
}

#[test]
fn a_session_learns_that_its_connection_ended_however_it_ended() {
    let shelf = Shelf::new();
    let server = shelf.start(&[&PIPE[..], &["--session-grace", "50ms"]].concat());
    for polite in [true, false] {
        let mut talk = shelf.client().connect(server.pipe);
        let session = talk.register("shop-1");
        assert!(talk.ask(&format!("ROUTE_ADD|{session}|*|/|http://{}|0", closed_port())).starts_with("ROUTE_OK|"));
        assert_eq!(talk.ask(&format!("CONFIG_APPLY|{session}")), "OK");
        assert_eq!(server.get("a", "/").0, 502);
        if polite {
            talk.0.get_mut().conn.send_close_notify();
            talk.0.get_mut().flush().unwrap();
        }
        talk.0.get_ref().sock.shutdown(Shutdown::Both).unwrap();
        eventually("its routes are gone", || server.get("a", "/").0 == 404);
    }
}

#[test]
fn a_client_without_tls_is_refused_in_words_and_closed() {
    let shelf = Shelf::new();
    let server = shelf.start(&[PIPE, API].concat());
    for (address, words) in [(server.pipe, "REGISTER|shop|shop-1|9001|{}\n"), (server.api, "GET / HTTP/1.1\r\n\r\n")] {
        let mut plain = TcpStream::connect(address).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.write_all(words.repeat(100).as_bytes()).unwrap();
        let mut answer = Vec::new();
        plain.read_to_end(&mut answer).expect("an end, and no reset");
        // RFC 8446 §5.1, §6: a record of type alert, and the level fatal.
        assert!(answer.len() == 7 && answer[0] == 21 && answer[5] == 2, "{answer:?}");
    }
    shelf.client().connect(server.pipe).register("shop-1");
}

#[test]
fn a_required_client_certificate_must_be_of_the_authority() {
    let (shelf, clients) = (Shelf::new(), Authority::new());
    shelf.put("clients.pem", &clients.pem);
    let server = shelf.start(&[&PIPE[..], &["--pipe-client-ca", "@clients.pem"]].concat());
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let trust = || Trust { versions: vec![version], ..shelf.client() };
        let register = "REGISTER|shop|shop-1|9001|{}";
        assert!(trust().connect(server.pipe).try_ask(register).is_err(), "none was shown");
        let foreign = trust().showing(shelf.authority.issue("shop"));
        assert!(foreign.connect(server.pipe).try_ask(register).is_err(), "it is of another authority");
        let expired = trust().showing(clients.issue_for_the_past("shop"));
        assert!(expired.connect(server.pipe).try_ask(register).is_err(), "it has expired");
        let mut known = trust().showing(clients.issue("shop")).connect(server.pipe);
        let session = known.register("shop-1");
        assert_eq!(known.ask(&format!("CLIENT_SHUTDOWN|{session}")), "SHUTDOWN_OK");
    }
}

#[test]
fn an_unfinished_handshake_delays_nobody() {
    let shelf = Shelf::new();
    let server = shelf.start(&PIPE);
    // Half a record that announces a handshake, or not even that.
    let hanging: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut socket = TcpStream::connect(server.pipe).unwrap();
            socket.write_all(&[22, 3, 1, 1, 0, 1][..number % 7]).unwrap();
            socket
        })
        .collect();
    let trust = shelf.client();
    for number in 0..20 {
        trust.connect(server.pipe).register(&format!("shop-{number}"));
    }
    drop(hanging);
}

#[test]
fn handshakes_that_are_not_finished_make_way_when_the_port_is_full() {
    let shelf = Shelf::new();
    let most = ["--pipe-connections-max", "3", "--api-connections-max", "3"];
    let server = shelf.start(&[&PIPE[..], &API, &most].concat());
    let trust = Trust { protocols: vec![b"http/1.1".to_vec()], ..shelf.client() };
    for (port, line) in [(server.pipe, "PING|nobody"), (server.api, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r")] {
        let hanging: Vec<TcpStream> = (0..3)
            .map(|number| {
                let mut socket = TcpStream::connect(port).unwrap();
                socket.write_all(&[22, 3, 1, 1, 0, 1][..number * 3]).unwrap();
                socket
            })
            .collect();
        eventually("one that speaks is served", || {
            let answer = trust.connect(port).try_ask(line).unwrap_or_default();
            answer.starts_with("ERROR|invalid session") || answer.starts_with("HTTP/1.1 200")
        });
        drop(hanging);
    }
}

#[test]
fn one_connection_too_many_is_refused_in_words_over_tls() {
    let shelf = Shelf::new();
    let server = shelf.start(&[&PIPE[..], &["--pipe-connections-max", "1"]].concat());
    let trust = shelf.client();
    let mut first = trust.connect(server.pipe);
    first.register("shop-1");
    let mut second = trust.connect(server.pipe);
    assert_eq!(second.ask("PING"), "ERROR|too many connections (limit 1); try again later");
    assert_eq!(second.0.read_to_end(&mut Vec::new()).unwrap(), 0);
}

#[test]
fn the_api_port_speaks_tls_and_both_versions_of_http_inside() {
    let shelf = Shelf::new();
    let server = shelf.start(&API);
    let mut talk = Trust { protocols: vec![b"http/1.1".to_vec()], ..shelf.client() }.connect(server.api);
    let answer = talk.ask("GET /nowhere HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r");
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    assert_eq!(talk.tls().alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut talk =
        Trust { protocols: vec![b"http/1.1".to_vec(), b"h2".to_vec()], ..shelf.client() }.connect(server.api);
    // The preface and empty settings (RFC 9113 §3.4): the server's settings come back.
    talk.0.get_mut().write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    let mut head = [0; 9];
    talk.0.read_exact(&mut head).unwrap();
    assert_eq!((talk.tls().alpn_protocol(), head[3]), (Some(&b"h2"[..]), 4));
    // The pipe is configured by itself.
    assert!(server.connect().register("shop", "shop-1").starts_with("shop-1-"));
}

#[test]
fn a_certificate_that_has_expired_is_a_warning() {
    let shelf = Shelf::new();
    let own = shelf.authority.issue_for_the_past("localhost");
    shelf.put("cert.pem", &own.cert);
    shelf.put("key.pem", &own.key);
    let server = shelf.start(&PIPE);
    let log = || std::fs::read_to_string(&server.log).unwrap();
    eventually("the warning is logged", || log().contains("the certificate has expired") && log().contains("cert.pem"));
    let good = Shelf::new();
    let server = good.start(&PIPE);
    let log = std::fs::read_to_string(&server.log).unwrap();
    assert!(!log.contains("certificate"), "{log}");
}

#[test]
fn files_that_are_no_good_stop_the_start_with_key_and_name() {
    let shelf = Shelf::new();
    let other = shelf.authority.issue("other");
    shelf.put("other.pem", &other.key);
    shelf.put("nonsense.pem", "nonsense");
    shelf.put("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    shelf.put("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let with = |cert, key| ["--pipe-cert", cert, "--pipe-key", key];
    let pipe = |flags: &[&'static str]| [&PIPE[..], flags].concat();
    let cases: [(Vec<&str>, &str); 12] = [
        (with("@none.pem", "@key.pem").to_vec(), "pipe.cert: DIR/none.pem cannot be read: No such file"),
        (with("@cert.pem", "@none.pem").to_vec(), "pipe.key: DIR/none.pem cannot be read: No such file"),
        (with("@nonsense.pem", "@key.pem").to_vec(), "pipe.cert: DIR/nonsense.pem holds no certificate"),
        (with("@broken.pem", "@key.pem").to_vec(), "pipe.cert: DIR/broken.pem cannot be used"),
        (with("@cert.pem", "@locked.pem").to_vec(), "pipe.key: DIR/locked.pem holds an encrypted private key"),
        (with("@cert.pem", "@cert.pem").to_vec(), "pipe.key: DIR/cert.pem holds no private key"),
        (
            with("@cert.pem", "@other.pem").to_vec(),
            "pipe.key: DIR/other.pem is not the key of the certificate in DIR/cert.pem (pipe.cert)",
        ),
        (pipe(&["--pipe-client-ca", "@key.pem"]), "pipe.client_ca: DIR/key.pem holds no certificate"),
        (pipe(&["--pipe-client-ca", "@broken.pem"]), "pipe.client_ca: DIR/broken.pem cannot be used"),
        (vec!["--api-cert", "@cert.pem"], "api.cert is set and api.key is not"),
        (vec!["--api-key", "@key.pem"], "api.key is set and api.cert is not"),
        (vec!["--api-client-ca", "@cert.pem"], "api.client_ca needs api.cert and api.key"),
    ];
    for (flags, expected) in cases {
        let flags: Vec<String> = flags.iter().map(|flag| shelf.flag(flag)).collect();
        let ended = Server::command(shelf.path()).args(&flags).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        let expected = expected.replace("DIR", shelf.path().to_str().unwrap());
        assert!(!ended.status.success() && said.contains(&expected), "{expected}\n{said}");
    }
}
