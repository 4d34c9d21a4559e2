//! TLS to backends: whom to trust, and the handshake.
//!
//! What it is not: TLS to clients. What must hold: a session that began unchecked is never resumed where certificates
//! are checked, so the two kinds share nothing; the work is done per connection, and a plain one pays nothing for it.

use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WantsClientCert};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme, WantsVerifier,
};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

use super::dial::left;
use super::error::ConnectError;
use crate::domain::{BackendUrl, Scheme};

/// How backends are spoken to over TLS. Cheap to clone, and meant to be: clones share their sessions.
#[derive(Clone, Debug)]
pub struct BackendTls {
    checked: Arc<ClientConfig>,
    unchecked: Arc<ClientConfig>,
    rootless: bool,
}

/// A connection to a backend, with or without TLS.
pub(crate) type BackendStream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// How many backends' sessions are kept for resumption.
const SESSIONS_MAX: usize = 4096;

/// The authorities that this machine trusts, read when first needed.
static SYSTEM: LazyLock<RootCertStore> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, unfit) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, unfit, errors = ?found.errors, "this machine's trusted authorities");
    roots
});

impl BackendTls {
    /// Trusts whom this machine trusts.
    pub fn new() -> Self {
        Self::with_roots(SYSTEM.clone())
    }

    /// Trusts also the authorities whose certificates stand in `pem`.
    ///
    /// # Errors
    /// If there is no certificate in it, or one that cannot be read: which.
    pub fn trusting(pem: &[u8]) -> Result<Self, String> {
        let mut roots = SYSTEM.clone();
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            count += 1;
            let certificate = certificate.map_err(|error| format!("its certificate {count} is no PEM: {error}"))?;
            roots.add(certificate).map_err(|error| format!("its certificate {count} cannot be read: {error}"))?;
        }
        if count == 0 { Err("it holds no certificate".to_owned()) } else { Ok(Self::with_roots(roots)) }
    }

    fn with_roots(roots: RootCertStore) -> Self {
        let provider = Arc::new(ring::default_provider());
        let rootless = roots.is_empty();
        if rootless {
            tracing::warn!("no trusted authorities: https backends fail unless tls_verify is off; see backends.ca");
        }
        let unchecked = builder(&provider).dangerous();
        let unchecked = unchecked.with_custom_certificate_verifier(Arc::new(AnyCertificate(Arc::clone(&provider))));
        let (checked, unchecked) = (finish(builder(&provider).with_root_certificates(roots)), finish(unchecked));
        Self { checked: Arc::new(checked), unchecked: Arc::new(unchecked), rootless }
    }

    /// The same with a whole handshake each time, so that a certificate is seen as it is now.
    pub(crate) fn without_resumption(&self) -> Self {
        let whole = |config: &ClientConfig| {
            let mut config = config.clone();
            config.resumption = Resumption::disabled();
            Arc::new(config)
        };
        Self { checked: whole(&self.checked), unchecked: whole(&self.unchecked), rootless: self.rootless }
    }

    /// Returns `socket` as it is for a backend without TLS, and else what is left of it after the handshake, before `end`.
    pub(crate) async fn secure(
        &self,
        socket: TcpStream,
        backend: &BackendUrl,
        verify: bool,
        end: Instant,
    ) -> Result<BackendStream, ConnectError> {
        match backend.scheme() {
            Scheme::Http => Ok(Either::Left(socket)),
            // Boxed, because it is large and rare.
            Scheme::Https => {
                let handshake = Box::pin(self.handshake(socket, backend, verify, end));
                Ok(Either::Right(Box::new(handshake.await?)))
            }
        }
    }

    /// Shakes hands with a backend before `end`. The name that is asked for, and checked, is that of its URL.
    pub(crate) async fn handshake(
        &self,
        socket: TcpStream,
        backend: &BackendUrl,
        verify: bool,
        end: Instant,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let config = if verify { &self.checked } else { &self.unchecked };
        let name = server_name(backend)?;
        let shaken = TlsConnector::from(Arc::clone(config)).connect(name, socket);
        let shaken = timeout(left(end), shaken).await.map_err(|_| ConnectError::TooSlow)?;
        shaken.map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &io::Error) -> ConnectError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(_)) if self.rootless => {
                ConnectError::Certificate("cannot be checked: no trusted authorities are installed here".to_owned())
            }
            Some(rustls::Error::InvalidCertificate(fault)) => ConnectError::Certificate(in_words(fault)),
            Some(rustls::Error::InvalidMessage(_)) => ConnectError::Handshake("the answer is not TLS".to_owned()),
            Some(other) => ConnectError::Handshake(other.to_string()),
            None => ConnectError::Handshake("the connection was closed".to_owned()),
        }
    }
}

impl Default for BackendTls {
    fn default() -> Self {
        Self::new()
    }
}

fn builder(provider: &Arc<CryptoProvider>) -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions();
    // It fails only for a provider that has no cipher suite for TLS 1.2 and 1.3.
    builder.expect("ring speaks TLS")
}

fn finish(builder: ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientConfig {
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
    config
}

fn server_name(backend: &BackendUrl) -> Result<ServerName<'static>, ConnectError> {
    if let Some(address) = backend.address() {
        return Ok(ServerName::from(address));
    }
    let nameless = |_| ConnectError::Handshake("its host is no name that a certificate can have".to_owned());
    ServerName::try_from(backend.host().to_owned()).map_err(nameless)
}

const UNTRUSTED: &str =
    "is not signed by a trusted authority; set tls_verify to false, or name the authority in backends.ca";

/// What is wrong with a certificate, to go behind "its certificate".
fn in_words(fault: &CertificateError) -> String {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet".to_owned(),
        CertificateError::UnknownIssuer => UNTRUSTED.to_owned(),
        // One that is signed by itself and says that it is an authority's; the library has no name for this fault.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => UNTRUSTED.to_owned(),
        CertificateError::NotValidForName => "is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, .. } => format!("is not for {}", expected.to_str()),
        other => format!("is not accepted: {other}"),
    }
}

/// Takes every certificate: for routes with `tls_verify` off.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    // Whose key it is says nothing where anybody's will do, and some of these certificates cannot even be read.
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
