//! TLS for backends in tests, with valid and invalid certificates.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedKey, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PublicKeyData, SignatureAlgorithm, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned, SupportedProtocolVersion};
use signalbox::certificates::ServedCertificate;
use tokio::net::{TcpListener, TcpStream};
use x509_parser::prelude::{FromDer, GeneralName, ParsedExtension, X509Certificate, X509CertificationRequest};

use super::PATIENCE;
use super::wire::Wire;

static COUNT: AtomicUsize = AtomicUsize::new(0);

/// A certificate authority that a test trusts.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The certificate of the authority itself.
    pub pem: String,
}

/// A certificate with its key, ready for a TLS server.
#[derive(Clone)]
pub struct Certificate(Arc<ServerConfig>);

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        // Each authority needs a name of its own, because an issuer is found by its name.
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("Authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Issues a certificate for several names.
    pub fn issue_all(&self, names: &[&str]) -> Issued {
        self.issue_for(
            &CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap(),
        )
    }

    /// Issues a certificate and its key as PEM.
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

    /// Issues a certificate for a signing request, which is valid from now on.
    pub fn issue_requested(&self, request: &[u8], lifetime: Duration) -> Requested {
        let (_, request) = X509CertificationRequest::from_der(request).unwrap();
        let names: Vec<String> = request.requested_extensions().unwrap().flat_map(names_of).collect();
        let key = RequestedKey(request.certification_request_info.subject_pki.subject_public_key.data.to_vec());
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.use_authority_key_identifier_extension = true;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_secs());
        params.not_after = params.not_before + lifetime;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Requested { names, identifier: identifier(certificate.der()), pem: certificate.pem() }
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

/// A certificate that was issued for a signing request.
pub struct Requested {
    pub names: Vec<String>,
    /// The identifier by which a directory of ACME knows it (RFC 9773 §4.1).
    pub identifier: String,
    pub pem: String,
}

/// The public key of a signing request.
struct RequestedKey(Vec<u8>);

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

fn names_of(extension: &ParsedExtension<'_>) -> Vec<String> {
    let ParsedExtension::SubjectAlternativeName(names) = extension else { return Vec::new() };
    let names = names.general_names.iter();
    names
        .map(|name| if let GeneralName::DNSName(name) = name { (*name).to_owned() } else { name.to_string() })
        .collect()
}

fn identifier(certificate: &[u8]) -> String {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    let issuer = certificate.extensions().iter().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::AuthorityKeyIdentifier(own) => own.key_identifier.as_ref(),
        _ => None,
    });
    format!("{}.{}", BASE64.encode(issuer.unwrap().0), BASE64.encode(certificate.tbs_certificate.raw_serial()))
}

fn in_the_past(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2021, 1, 1);
    params
}

/// A client that speaks TLS and trusts one authority.
#[derive(Clone)]
pub struct TlsClient {
    roots: RootCertStore,
    /// The certificate of the client.
    pub own: Option<Arc<Issued>>,
    /// The protocols of ALPN.
    pub protocols: Vec<&'static str>,
    /// The versions of TLS.
    pub versions: Vec<&'static SupportedProtocolVersion>,
}

/// A connection with TLS.
pub type TlsWire = Wire<StreamOwned<ClientConnection, std::net::TcpStream>>;

impl TlsClient {
    pub fn trusting(authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).unwrap()).unwrap();
        Self { roots, own: None, protocols: Vec::new(), versions: rustls::ALL_VERSIONS.to_vec() }
    }

    /// The settings of a connection.
    pub fn config(&self) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&self.versions).unwrap();
        let builder = builder.with_root_certificates(self.roots.clone());
        let mut config = match &self.own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let chain = vec![CertificateDer::from_pem_slice(own.cert.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = self.protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }

    /// The beginning of a connection that has sent nothing.
    pub fn session(&self, name: &str) -> ClientConnection {
        ClientConnection::new(Arc::new(self.config()), ServerName::try_from(name.to_owned()).unwrap()).unwrap()
    }

    /// Connects and does the handshake as far as this side is concerned.
    pub fn connect(&self, address: SocketAddr, name: &str) -> std::io::Result<TlsWire> {
        self.go_on(self.session(name), address)
    }

    /// Connects without asking for a name. The certificate must be for `name` all the same.
    pub fn connect_nameless(&self, address: SocketAddr, name: &str) -> std::io::Result<TlsWire> {
        let mut config = self.config();
        config.enable_sni = false;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        self.go_on(ClientConnection::new(Arc::new(config), name).unwrap(), address)
    }

    fn go_on(&self, session: ClientConnection, address: SocketAddr) -> std::io::Result<TlsWire> {
        Self::shake(session, std::net::TcpStream::connect(address)?)
    }

    /// Does the handshake on a connection that is open.
    pub fn shake(mut session: ClientConnection, mut socket: std::net::TcpStream) -> std::io::Result<TlsWire> {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Wire::on(StreamOwned::new(session, socket)))
    }
}

/// A certificate and its key as PEM, as the configuration files of an interface or client hold them.
pub struct Issued {
    pub cert: String,
    pub key: String,
}

impl Issued {
    /// Returns it as the proxy serves it.
    pub fn served(&self) -> ServedCertificate {
        ServedCertificate::from_pem(self.cert.as_bytes(), self.key.as_bytes()).unwrap()
    }
}

impl Certificate {
    /// Creates a self-signed certificate that is marked as an authority, as `openssl req -x509` does.
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
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }

    /// Offers HTTP/2 too, and likes it better.
    pub fn with_http2(self) -> Self {
        let mut config = ServerConfig::clone(&self.0);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self(Arc::new(config))
    }
}

/// The facts of a TLS handshake as the server side saw them.
#[derive(Debug)]
pub struct Handshake {
    pub name: Option<String>,
    pub protocol: Option<String>,
    pub resumed: bool,
}

/// A TLS server that forwards the decrypted bytes to a backend.
pub struct TlsFront {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    handshakes: Mutex<Receiver<Handshake>>,
}

impl TlsFront {
    pub fn before(backend: SocketAddr, certificate: &Certificate) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, handshakes) = channel();
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
        Self { address, connections, handshakes: Mutex::new(handshakes) }
    }

    /// Returns the URL with the given host name.
    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}", self.address.port())
    }

    /// Returns the number of connections so far, including those without a finished handshake.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits for the next successful handshake.
    pub fn handshake(&self) -> Handshake {
        self.handshakes.lock().unwrap().recv_timeout(PATIENCE).expect("a handshake")
    }
}

fn shaken_with(connection: &rustls::ServerConnection) -> Handshake {
    Handshake {
        name: connection.server_name().map(str::to_owned),
        protocol: connection.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned()),
        resumed: connection.handshake_kind() == Some(rustls::HandshakeKind::Resumed),
    }
}
