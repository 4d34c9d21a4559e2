//! The renewal of the proxy's certificates by new files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use http::Request;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use signalbox::grpc::proto::event::Payload;
use signalbox::grpc::proto::registry_client::RegistryClient;

use super::reload::Configured;
use crate::grpc::support as grpc_support;
use crate::rest::api::Api;
use crate::server::{Server, eventually};
use crate::support::backend::Backend;
use crate::support::http2_client::Http2Client;
use crate::support::tls::{Authority, Issued, TlsClient, TlsWire};

/// Puts a certificate and its key where the configuration names them.
type Replace = fn(&Path, &Issued);

fn write(folder: &Path, issued: &Issued) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("key.pem"), &issued.key).unwrap();
    fs::write(folder.join("cert.pem"), &issued.cert).unwrap();
}

/// Writes the files anew in their place.
fn by_writing(folder: &Path, issued: &Issued) {
    write(&folder.join("live"), issued);
}

/// Writes other files and renames them, as `certbot` and editors do.
fn by_renaming(folder: &Path, issued: &Issued) {
    write(&folder.join("new"), issued);
    fs::create_dir_all(folder.join("live")).unwrap();
    for name in ["key.pem", "cert.pem"] {
        fs::rename(folder.join("new").join(name), folder.join("live").join(name)).unwrap();
    }
}

/// Lets a link to a folder of versions point to another one, as Kubernetes does.
fn by_link(folder: &Path, issued: &Issued) {
    let live = folder.join("live");
    let version = format!("..v{}", fs::read_dir(&live).map_or(0, Iterator::count));
    write(&live.join(&version), issued);
    symlink(&version, live.join("..new")).unwrap();
    fs::rename(live.join("..new"), live.join("..data")).unwrap();
    for name in ["key.pem", "cert.pem"] {
        // It is there from the first time on.
        let _ = symlink(Path::new("..data").join(name), live.join(name));
    }
}

/// Puts another folder in the place of the folder.
fn by_folder(folder: &Path, issued: &Issued) {
    write(&folder.join("next"), issued);
    let _ = fs::remove_dir_all(folder.join("old"));
    let _ = fs::rename(folder.join("live"), folder.join("old"));
    fs::rename(folder.join("next"), folder.join("live")).unwrap();
}

fn der(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(issued.cert.as_bytes()).unwrap()
}

fn get(wire: &mut TlsWire) -> u16 {
    wire.send("GET / HTTP/1.1\r\nhost: shop.example\r\n\r\n");
    wire.message().expect("the connection goes on").status()
}

#[test]
fn new_files_are_served_whatever_their_way_and_open_connections_and_tickets_go_on() {
    let ways: [(&str, Replace); 4] =
        [("writing", by_writing), ("renaming", by_renaming), ("a link", by_link), ("a folder", by_folder)];
    for (way, replace) in ways {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let first = authority.issue("shop.example");
        replace(folder.path(), &first);
        let at = |name: &str| folder.path().join("live").join(name).display().to_string();
        let file = format!(
            "[proxy]\nhttps = \"127.0.0.1:0\"\n[[tls]]\ncert = \"{}\"\nkey = \"{}\"\n",
            at("cert.pem"),
            at("key.pem")
        );
        let configured = Configured::start(&file, &[]);
        let server = &configured.server;
        let https = server.https.unwrap();
        let backend = Backend::named("shop");
        let mut session = server.connect();
        let id = session.register("shop", "one");
        session.serve(&id, "shop.example", "/", backend.address());
        assert_eq!(session.ask(&format!("SUBSCRIBE|{id}|cert_renewed")), "SUBSCRIBE_OK");

        let mut client = TlsClient::trusting(&authority);
        let tickets = Arc::new(client.config());
        let resumed = || kind(https, &tickets) == Some(HandshakeKind::Resumed);
        eventually("a ticket is taken", resumed);
        let mut open = client.connect(https, "shop.example").unwrap();
        let shown = |client: &TlsClient| {
            let wire = client.connect(https, "shop.example").unwrap();
            wire.stream().conn.peer_certificates().unwrap()[0].clone().into_owned()
        };
        assert!(shown(&client) == der(&first) && get(&mut open) == 200, "{way}");
        let mut h2 = client.clone();
        h2.protocols = vec!["h2"];
        let mut streams = Http2Client::secure(&h2, https, "shop.example");
        assert_eq!(streams.get("https://shop.example/").unwrap().status, 200);

        let second = authority.issue("shop.example");
        replace(folder.path(), &second);
        eventually(&format!("the new certificate is shown after {way}"), || shown(&client) == der(&second));
        assert_eq!(get(&mut open), 200, "{way}");
        assert_eq!(streams.get("https://shop.example/").unwrap().status, 200, "{way}");
        assert!(resumed(), "{way}");
        let told = session.pushed_line();
        assert!(told.starts_with("EVENT|cert_renewed|{\"domain\":\"shop.example\",\"expiry\":\""), "{told}");

        // A key of another certificate: the pair is refused, and the certificate before it is served on.
        let mut mixed = authority.issue("shop.example");
        mixed.key.clone_from(&second.key);
        replace(folder.path(), &mixed);
        eventually("it is refused", || configured.log().contains("the new certificate is not used"));
        assert!(shown(&client) == der(&second) && get(&mut open) == 200, "{way}");
        let list = configured.operate("GET", "/v1/certificates", "any");
        assert!(list.text().contains("\"last_error\":\""), "{}", list.text());
        client.versions = vec![&rustls::version::TLS12];
        assert!(shown(&client) == der(&second), "{way}");
    }
}

/// Does a handshake and a request, and returns the kind of the handshake.
fn kind(https: std::net::SocketAddr, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let name = ServerName::try_from("shop.example").unwrap();
    let session = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut wire = TlsClient::shake(session, std::net::TcpStream::connect(https).unwrap()).unwrap();
    assert_eq!(get(&mut wire), 200);
    wire.stream().conn.handshake_kind()
}

/// A backend that carries on a WebSocket whose messages have four bytes, and answers everything else.
fn echo() -> Backend {
    Backend::new(|mut wire| {
        while let Some(request) = wire.message() {
            if request.field("upgrade").is_none() {
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
                continue;
            }
            wire.send("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
            while let Some(bytes) = wire.exactly(4) {
                wire.send(bytes);
            }
            return;
        }
    })
}

#[test]
fn streams_under_way_outlive_a_renewal_and_sessions_hear_of_it_on_every_interface() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    by_writing(folder.path(), &authority.issue("shop.example"));
    let at = |name: &str| folder.path().join(name).display().to_string();
    let tls = format!("[[tls]]\ncert = \"{}\"\nkey = \"{}\"\n", at("live/cert.pem"), at("live/key.pem"));
    fs::write(at("signalbox.toml"), format!("[proxy]\nhttps = \"127.0.0.1:0\"\n{tls}")).unwrap();
    let api = Api::launch(|home| Server::start_with(home, &["--config", &at("signalbox.toml")]));
    let (https, backend) = (api.server.https.unwrap(), echo());

    let mut pipe = api.server.connect();
    let first = pipe.register("shop", "one");
    pipe.serve(&first, "shop.example", "/", backend.address());
    assert_eq!(pipe.ask(&format!("SUBSCRIBE|{first}|cert_renewed")), "SUBSCRIBE_OK");
    let serving = |instance: &str| {
        let session = api.register("shop", instance);
        api.route(&session, "shop.example", &backend.url());
        api.apply(&session);
        session
    };
    let (_, mut rest) = api.stream("/v1/session/events", &serving("two"), "");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let third = serving("three");
    let mut grpc = runtime.block_on(async {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", api.server.api)).unwrap();
        let mut client = RegistryClient::new(endpoint.connect().await.unwrap());
        grpc_support::subscribe(&mut client, &third, &[], None).await
    });

    let mut client = TlsClient::trusting(&authority);
    let mut socket = client.connect(https, "shop.example").unwrap();
    socket.send(
        "GET / HTTP/1.1\r\nhost: shop.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    );
    assert_eq!(socket.head().unwrap().status(), 101);
    client.protocols = vec!["h2"];
    let mut streams = Http2Client::secure(&client, https, "shop.example");
    let head = Request::builder().method("CONNECT").uri("https://shop.example/");
    let head = head.extension(h2::ext::Protocol::from_static("websocket")).header("sec-websocket-version", "13");
    let (response, mut sent) = streams.begin(head.body(()).unwrap(), false);
    let mut received = streams.wait(response).unwrap().into_body();
    let mut carry_on = |word: &'static str| {
        socket.send(word);
        assert_eq!(socket.exactly(4).unwrap(), word.as_bytes());
        sent.send_data(word.into(), false).unwrap();
        assert_eq!(streams.wait(received.data()).unwrap().unwrap(), word);
    };
    carry_on("ping");

    by_writing(folder.path(), &authority.issue("shop.example"));
    let told = pipe.pushed_line();
    assert!(told.starts_with("EVENT|cert_renewed|{\"domain\":\"shop.example\",\"expiry\":\""), "{told}");
    let heard = std::iter::from_fn(|| rest.event()).find(|event| event.name == "cert_renewed");
    assert_eq!(heard.expect("it is told over REST").data["domain"], "shop.example");
    let renewed = runtime.block_on(async {
        loop {
            if let Payload::CertRenewed(renewed) = grpc_support::next_payload(&mut grpc).await {
                return renewed;
            }
        }
    });
    assert_eq!(renewed.domain, "shop.example");
    carry_on("pong");
}
