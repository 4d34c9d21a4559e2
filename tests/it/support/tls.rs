//! TLS in front of a backend, with certificates that are as good or bad as a test needs.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Whose certificates a test trusts.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub pem: String,
}

/// What a backend shows.
#[derive(Clone)]
pub struct Certificate(Arc<ServerConfig>);

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // Of its own name: an issuer is looked for by it.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("Authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key, as PEM.
    pub fn issue(&self, name: &str) -> Issued {
        self.issue_for(&CertificateParams::new([name.to_owned()]).unwrap())
    }

    pub fn issue_for_the_past(&self, name: &str) -> Issued {
        self.issue_for(&in_the_past(name))
    }

    fn issue_for(&self, params: &CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        Issued { cert: params.signed_by(&key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }

    pub fn certify(&self, name: &str) -> Certificate {
        self.sign(&CertificateParams::new([name.to_owned()]).unwrap())
    }

    pub fn certify_the_past(&self, name: &str) -> Certificate {
        self.sign(&in_the_past(name))
    }

    fn sign(&self, params: &CertificateParams) -> Certificate {
        let key = KeyPair::generate().unwrap();
        Certificate::of(params.signed_by(&key, &self.issuer).unwrap().der().clone(), &key)
    }
}

fn in_the_past(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

/// What stands in the files of a door or a client, as PEM.
pub struct Issued {
    pub cert: String,
    pub key: String,
}

impl Certificate {
    /// One that is signed by itself and says that it is an authority's, as `openssl req -x509` makes them.
    pub fn own_authority(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self::of(params.self_signed(&key).unwrap().der().clone(), &key)
    }

    pub fn self_signed(name: &str) -> Self {
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Self::of(cert.der().clone(), &signing_key)
    }

    fn of(certificate: CertificateDer<'static>, key: &KeyPair) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }
}

/// What a front has seen of a handshake.
#[derive(Debug)]
pub struct Shaken {
    pub name: Option<String>,
    pub protocol: Option<String>,
    pub resumed: bool,
}

/// Takes TLS off, and passes what is in it to a backend and back.
pub struct Front {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    shaken: Mutex<Receiver<Shaken>>,
}

impl Front {
    pub fn before(backend: SocketAddr, certificate: &Certificate) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, shaken) = channel();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::clone(&certificate.0));
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        let serve = async move {
            let listener = TcpListener::from_std(listener).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                let (acceptor, tell) = (acceptor.clone(), tell.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(socket).await else { return };
                    let _ = tell.send(shaken_with(stream.get_ref().1));
                    let mut plain = TcpStream::connect(backend).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
                });
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        thread::spawn(move || runtime.block_on(serve));
        Self { address, connections, shaken: Mutex::new(shaken) }
    }

    /// Its URL by a name for this machine.
    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }

    /// How many connections it has had, whether or not hands were shaken.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// The next handshake that succeeded.
    pub fn shaken(&self) -> Shaken {
        self.shaken.lock().unwrap().recv_timeout(Duration::from_secs(10)).expect("nobody shook hands")
    }
}

fn shaken_with(connection: &rustls::ServerConnection) -> Shaken {
    Shaken {
        name: connection.server_name().map(str::to_owned),
        protocol: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
    }
}
