//! The client of the comparison over TLS, in a process of its own: handshakes one after the other, or many idle connections.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// The idle connections whose memory is measured.
pub const IDLE: usize = 2000;

/// The preface of HTTP/2, empty settings, and `GET https://localhost/` on stream 1.
const HTTP2_REQUEST: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\
    \0\0\x0e\x01\x05\0\0\0\x01\x82\x87\x84\x41\x09localhost";

/// What the client does.
pub enum Client {
    Handshakes { address: String, cert: String, resumes: bool, seconds: u64 },
    Idle { address: String, cert: String, speaks_http2: bool },
}

impl Client {
    /// Returns the client that the arguments ask for.
    pub fn asked_for(arguments: &[String]) -> Option<Self> {
        let at = arguments.iter().position(|argument| argument == "tls-client")?;
        let rest: Vec<String> = arguments.iter().skip(at + 1).cloned().collect();
        let [address, cert, what, ..] = &rest[..] else { return None };
        let (address, cert) = (address.clone(), cert.clone());
        if what.starts_with("idle") {
            return Some(Self::Idle { address, cert, speaks_http2: what == "idle-http2" });
        }
        let seconds = rest.get(3)?.parse().ok()?;
        Some(Self::Handshakes { address, cert, resumes: what == "resumed", seconds })
    }

    pub fn run(self) {
        match self {
            Self::Handshakes { address, cert, resumes, seconds } => {
                let config = config(&cert, resumes);
                let (end, mut count) = (Instant::now() + Duration::from_secs(seconds), 0);
                while Instant::now() < end {
                    let mut connection = connect(&address, &config);
                    while resumes && connection.conn.tls13_tickets_received() == 0 {
                        connection.conn.read_tls(&mut connection.sock).expect("a ticket");
                        connection.conn.process_new_packets().expect("a ticket");
                    }
                    count += 1;
                }
                println!("{count}");
            }
            Self::Idle { address, cert, speaks_http2 } => {
                let mut config = config(&cert, false);
                let request = if speaks_http2 {
                    Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec()];
                    HTTP2_REQUEST
                } else {
                    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
                };
                let open: Vec<_> = (0..IDLE)
                    .map(|_| {
                        let mut connection = connect(&address, &config);
                        connection.write_all(request).expect("sent");
                        read_page(&mut connection);
                        connection
                    })
                    .collect();
                println!("ready");
                let _ = std::io::stdin().read(&mut [0]);
                drop(open);
            }
        }
    }
}

/// Reads until the end of the backend's page of 1 KiB.
fn read_page(connection: &mut impl Read) {
    let (mut bytes, mut answer) = (0, [0; 4096]);
    while bytes < 1024 {
        let read = connection.read(&mut answer).expect("an answer");
        assert!(read > 0, "the connection ended");
        bytes += memchr::memchr_iter(b'x', &answer[..read]).count();
    }
}

/// Trusts the one certificate.
pub fn config(cert: &str, resumes: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(cert).expect("a certificate")).expect("a root");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions");
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    if !resumes {
        config.resumption = Resumption::disabled();
    }
    Arc::new(config)
}

fn connect(address: &str, config: &Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let mut socket = TcpStream::connect(address).expect("connected");
    socket.set_nodelay(true).expect("an option");
    let name = ServerName::try_from("localhost").expect("a name");
    let mut session = ClientConnection::new(Arc::clone(config), name).expect("a session");
    while session.is_handshaking() {
        session.complete_io(&mut socket).expect("a handshake");
    }
    StreamOwned::new(session, socket)
}
