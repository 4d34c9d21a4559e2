//! The renewal of the proxy's certificates by new files.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind};

use super::reload::Configured;
use crate::server::eventually;
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
