//! The reload of the configuration, and the renewal of the certificates of the pipe and of the API port.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use serde_json::Value;
use tempfile::TempDir;

use crate::server::{Client, Server, eventually, get};
use crate::support::backend::Backend;
use crate::support::http2::Http2Backend;
use crate::support::tls::{Authority, TlsFront};
use crate::support::wire::{Message, Wire};

/// A server with a configuration file that a test rewrites.
pub struct Configured {
    folder: TempDir,
    pub server: Server,
}

impl Configured {
    pub fn start(text: &str, flags: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("signalbox.toml");
        fs::write(&file, text).unwrap();
        let flags: Vec<&str> = ["--config", file.to_str().unwrap()].into_iter().chain(flags.iter().copied()).collect();
        let server = Server::start_with(folder.path(), &flags);
        Self { folder, server }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("signalbox.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.server.log).unwrap()
    }

    /// Runs `signalbox reload` with the configuration of the server, and returns its exit status and what it said.
    fn reload(&self) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
        let (file, api) = (self.file(), self.server.api.to_string());
        let output =
            command.args(["reload", "--config", file.to_str().unwrap(), "--api-listen", &api]).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap().trim_end().to_owned())
    }

    pub fn operate(&self, method: &str, target: &str, token: &str) -> Message {
        let mut wire = Wire::connect(self.server.api);
        wire.send(format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-length: 0\r\n\r\n"
        ));
        wire.message().expect("the API answers")
    }
}

/// Starts a server with one route of `shop.example`.
fn serving() -> (Configured, Client, Backend) {
    let configured = Configured::start("", &[]);
    let mut client = configured.server.connect();
    let session = client.register("shop", "shop-1");
    let page = Backend::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    client.serve(&session, "shop.example", "/", page.address());
    (configured, client, page)
}

fn subscribed(server: &Server, kind: &str) -> Client {
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    assert_eq!(client.ask(&format!("SUBSCRIBE|{session}|{kind}")), "SUBSCRIBE_OK");
    client
}

#[test]
fn a_changed_file_takes_effect_and_sessions_and_operators_are_told() {
    let configured = Configured::start("[session]\nroutes_max = 5\n", &[]);
    let server = &configured.server;
    let mut client = subscribed(server, "global_config_changed");
    let mut watch = Wire::connect(server.api);
    watch.send("GET /v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(watch.head().unwrap().status(), 200);
    assert_eq!(get(server.proxy, "nowhere.example", "/").unwrap().0, 404);

    configured
        .write("[session]\nroutes_max = 1\n[proxy]\nunmatched = \"close\"\nworkers = 1\n[log]\nlevel = \"debug\"\n");
    let keys = "proxy.unmatched, session.routes_max, log.level";
    let expected = format!("EVENT|global_config_changed|{{\"reason\":\"the file changed: {keys}\"}}");
    assert_eq!(client.pushed_line(), expected);
    let mut told = String::new();
    while !told.contains("event: global_config_changed") {
        told += &String::from_utf8(watch.chunk().expect("an event comes")).unwrap();
    }
    assert!(told.contains("\"service_name\":\"\"") && told.contains(keys), "{told}");

    eventually("the worker follows", || get(server.proxy, "nowhere.example", "/").is_err());
    let session = client.register("shop", "shop-1");
    client.serve(&session, "shop.example", "/", "127.0.0.1:1".parse().unwrap());
    let refused = client.ask(&format!("ROUTE_ADD|{session}|b.example|/|http://127.0.0.1:1|0"));
    assert!(refused.contains("limit 1") || refused.contains("at most 1"), "{refused}");
    let log = configured.log();
    assert!(log.contains("changed keys that need a restart") && log.contains("\"keys\":\"proxy.workers\""), "{log}");
}

#[test]
fn an_invalid_file_changes_nothing_and_the_command_says_what_the_log_says() {
    let configured = Configured::start("[session]\nroutes_max = 5\n", &[]);
    configured.write("[session]\nroutes_max = 1\ngrace = \"soon\"\n");
    let words = "signalbox.toml:3:";
    eventually("it is logged", || configured.log().contains(words));
    let (code, said) = configured.reload();
    assert!(code == Some(1) && said.contains(words) && said.contains("500ms, 30s"), "{said}");
    let answer = configured.operate("POST", "/v1/reload", "any");
    assert!(answer.status() == 409 && answer.text().contains(words), "{}", answer.text());
    eventually("it is logged once for the file and once for the call", || {
        configured.log().matches("nothing was changed").count() == 2
    });
    // None of its values is in force.
    let mut client = configured.server.connect();
    let session = client.register("shop", "shop-1");
    for domain in ["a.example", "b.example"] {
        let reply = client.ask(&format!("ROUTE_ADD|{session}|{domain}|/|http://127.0.0.1:1|0"));
        assert!(reply.starts_with("ROUTE_OK"), "{reply}");
    }
    configured.write("[session]\nroutes_max = 2\n");
    eventually("a valid one is taken again", || configured.log().contains("\"keys\":\"session.routes_max\""));
    assert_eq!(configured.reload(), (Some(0), "nothing changed".to_owned()));
}

#[test]
fn tokens_defaults_and_denied_networks_follow_at_once() {
    let (configured, _client, _page) = serving();
    let server = &configured.server;
    assert_eq!(get(server.proxy, "shop.example", "/").unwrap().0, 200);

    configured.write(
        "[api]\noperator_tokens = [\"0123456789abcdef\"]\n[defaults]\nheaders = { X-Frame-Options = \"DENY\" }\n\
         [[tokens]]\nname = \"a\"\nsha256 = \"1ec1c26b50d5d3c58d9583181af8076655fe00756bf7285940ba3670f99fcba0\"\n",
    );
    // Not with the command: it shows the new token already.
    server.signal("HUP");
    eventually("the operator needs the token", || {
        configured.operate("GET", "/v1/overview", "wrong-wrong-wrong").status() == 401
    });
    assert_eq!(configured.operate("GET", "/v1/overview", "0123456789abcdef").status(), 200);
    eventually("registrations need a token", || {
        server.once("REGISTER|till|till-1|9001|{}").contains("registration token")
    });
    eventually("the default header comes", || {
        let mut wire = Wire::connect(server.proxy);
        wire.send("GET / HTTP/1.1\r\nhost: shop.example\r\n\r\n");
        wire.message().is_some_and(|answer| answer.field("x-frame-options") == Some("DENY"))
    });
    configured.write("[api]\noperator_tokens = [\"0123456789abcdef\"]\n[backends]\ndeny = [\"127.0.0.0/8\"]\n");
    eventually("the backend is denied", || get(server.proxy, "shop.example", "/").unwrap().0 == 502);
    assert_eq!(configured.reload(), (Some(0), "nothing changed".to_owned()), "the command shows the token");
}

/// What is written while the file is being read or put in force takes effect like any other change.
#[test]
fn a_change_that_comes_in_the_middle_of_a_reload_takes_effect() {
    let (configured, _client, _page) = serving();
    let server = &configured.server;
    let header = |value: &str| configured.write(&format!("[defaults]\nheaders = {{ X-Round = \"{value}\" }}\n"));
    for round in 0..8 {
        header("first");
        server.signal("HUP");
        // Each round meets the reload at another moment of it.
        std::thread::sleep(Duration::from_micros(500 * round));
        let last = round.to_string();
        header(&last);
        eventually("the last header comes", || {
            let mut wire = Wire::connect(server.proxy);
            wire.send("GET / HTTP/1.1\r\nhost: shop.example\r\n\r\n");
            wire.message().is_some_and(|answer| answer.field("x-round") == Some(last.as_str()))
        });
    }
}

#[test]
fn a_configuration_from_a_fifo_is_read_once_and_stays() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let written = fifo.clone();
    let writer = std::thread::spawn(move || fs::write(written, "[api]\noperator_tokens = [\"0123456789abcdef\"]\n"));
    let server = Server::start_with(folder.path(), &["--config", fifo.to_str().unwrap()]);
    writer.join().unwrap().unwrap();
    let configured = Configured { folder, server };
    let ask = |method, target| configured.operate(method, target, "0123456789abcdef");
    let refused = ask("POST", "/v1/reload");
    assert!(refused.status() == 409 && refused.text().contains("from a FIFO"), "{}", refused.text());
    assert_eq!(ask("GET", "/v1/overview").status(), 200, "the token is known");
    assert_eq!(configured.operate("GET", "/v1/overview", "wrong-wrong-wrong").status(), 401);
}

/// A connection that was in use when its address was denied carries no further request, whatever its protocol.
#[test]
fn a_connection_in_use_is_not_used_again_once_its_address_is_denied() {
    let heard = Arc::new(AtomicUsize::new(0));
    let (gate, counted) = (Arc::new(AtomicBool::new(false)), Arc::clone(&heard));
    let opened = Arc::clone(&gate);
    let one = Backend::new(move |mut wire| {
        while let Some(request) = wire.message() {
            // Checks ask for something else.
            if request.target() == "/asked" {
                counted.fetch_add(1, Ordering::SeqCst);
                eventually("the gate is open", || opened.load(Ordering::SeqCst));
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
        }
    });
    let (opened, counted) = (Arc::clone(&gate), Arc::clone(&heard));
    let two = Http2Backend::new(move |mut exchange| {
        let is_asked = exchange.request.uri().path() == "/asked";
        counted.fetch_add(usize::from(is_asked), Ordering::SeqCst);
        let opened = Arc::clone(&opened);
        async move {
            while is_asked && !opened.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            exchange.answer(200, "hi").await;
        }
    });
    for url in [one.url(), two.url()] {
        let before = heard.load(Ordering::SeqCst);
        gate.store(false, Ordering::SeqCst);
        let configured = Configured::start("", &["--proxy-workers", "1"]);
        let server = &configured.server;
        let mut client = server.connect();
        let session = client.register("shop", "shop-1");
        let added = client.ask(&format!("ROUTE_ADD|{session}|shop.example|/|{url}|0"));
        assert!(added.starts_with("ROUTE_OK"), "{added}");
        client.ask(&format!("CONFIG_APPLY|{session}"));
        let asked = || {
            let mut wire = Wire::connect(server.proxy);
            wire.send("GET /asked HTTP/1.1\r\nhost: shop.example\r\n\r\n");
            wire
        };
        let mut busy = asked();
        eventually("the backend has it", || heard.load(Ordering::SeqCst) == before + 1);
        configured.write("[backends]\ndeny = [\"127.0.0.0/8\"]\n");
        assert_eq!(configured.reload().0, Some(0));
        eventually("the address is denied", || asked().message().unwrap().status() == 502);
        gate.store(true, Ordering::SeqCst);
        assert_eq!(busy.message().unwrap().text(), "hi", "what is under way goes on");
        for _ in 0..3 {
            assert_eq!(asked().message().unwrap().status(), 502, "{url}");
        }
        assert_eq!(heard.load(Ordering::SeqCst), before + 1, "{url}");
    }
}

/// A connection to a backend whose authority is not trusted any more carries no further request, whatever its protocol.
#[test]
fn a_connection_is_not_used_again_once_its_authority_is_not_trusted() {
    let (authority, other) = (Authority::new(), Authority::new());
    let one = Backend::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
    let two = Http2Backend::new(|mut exchange| async move { exchange.answer(200, "hi").await });
    // By address: a connection to a name is soon made anew.
    let certificate = || authority.certify("127.0.0.1");
    for front in
        [TlsFront::before(one.address(), &certificate()), TlsFront::before(two.address(), &certificate().with_http2())]
    {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        fs::write(&ca, &authority.pem).unwrap();
        let configured = Configured::start("", &["--proxy-workers", "1", "--backends-ca", ca.to_str().unwrap()]);
        let mut client = configured.server.connect();
        let session = client.register("shop", "shop-1");
        let added = client.ask(&format!("ROUTE_ADD|{session}|shop.example|/|{}|0", front.url("127.0.0.1")));
        assert!(added.starts_with("ROUTE_OK"), "{added}");
        client.ask(&format!("CONFIG_APPLY|{session}"));
        let status = || get(configured.server.proxy, "shop.example", "/").unwrap().0;
        eventually("it is reached", || status() == 200);
        // Checks have connections of their own.
        eventually("its connection is kept", || {
            let before = front.connections();
            (status(), status()) == (200, 200) && front.connections() == before
        });
        fs::write(&ca, &other.pem).unwrap();
        assert_eq!(configured.reload().0, Some(0));
        eventually("it is trusted no more", || status() == 502);
        fs::write(&ca, &authority.pem).unwrap();
        assert_eq!(configured.reload().0, Some(0));
        eventually("it is trusted again", || status() == 200);
    }
}

/// Connects with TLS, and returns the connection with the certificate that was shown.
fn shake(server: &Server, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, std::net::TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let socket = std::net::TcpStream::connect(server.pipe).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    let mut stream = StreamOwned::new(connection, socket);
    assert!(ask(&mut stream, "PING|nobody").starts_with("ERROR|"));
    stream
}

fn ask(stream: &mut StreamOwned<ClientConnection, std::net::TcpStream>, line: &str) -> String {
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    let mut reply = String::new();
    let mut byte = [0];
    while !reply.ends_with('\n') {
        std::io::Read::read_exact(stream, &mut byte).unwrap();
        reply.push(char::from(byte[0]));
    }
    reply
}

#[test]
fn a_port_follows_its_certificate_files_while_connections_and_tickets_go_on() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    let renew = || {
        let issued = authority.issue("localhost");
        fs::write(&key, &issued.key).unwrap();
        fs::write(folder.path().join("new"), &issued.cert).unwrap();
        fs::rename(folder.path().join("new"), &cert).unwrap();
        CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap()
    };
    let first = renew();
    let (cert_flag, key_flag) = (cert.to_str().unwrap().to_owned(), key.to_str().unwrap().to_owned());
    let configured = Configured::start("", &["--pipe-cert", &cert_flag, "--pipe-key", &key_flag]);
    let server = &configured.server;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let client = Arc::new(client.with_root_certificates(roots).with_no_client_auth());
    let shown =
        |config: &Arc<ClientConfig>| shake(server, config).conn.peer_certificates().unwrap()[0].clone().into_owned();
    let fresh = || {
        let mut config = ClientConfig::clone(&client);
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    };
    let mut open = shake(server, &client);
    assert_eq!(shown(&fresh()), first);

    let second = renew();
    eventually("the new certificate is shown", || shown(&fresh()) == second);
    assert!(ask(&mut open, "PING|nobody").starts_with("ERROR|"), "an open connection goes on");
    assert_eq!(shake(server, &client).conn.handshake_kind(), Some(HandshakeKind::Resumed));

    fs::write(&cert, "-----BEGIN CERTIFICATE-----\nhalf").unwrap();
    eventually("it is refused", || configured.log().contains("the new certificate is not used"));
    assert_eq!(shown(&fresh()), second);
    let list = configured.operate("GET", "/v1/certificates", "any");
    let list: Value = serde_json::from_slice(&list.body).unwrap();
    let entry = &list["items"][0];
    assert_eq!((entry["port"].as_str(), entry["names"][0].as_str()), (Some("pipe"), Some("localhost")));
    assert!(entry["last_error"].as_str().is_some_and(|words| words.starts_with("pipe.cert:")), "{entry}");
    let third = renew();
    eventually("a whole one is taken again", || shown(&fresh()) == third);
    assert_eq!(configured.log().matches("the new certificate is not used").count(), 1, "once for these contents");
}
