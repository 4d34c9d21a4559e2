//! TLS to backends: the trusted authorities and the handshake.
//!
//! Not here: TLS to clients. Invariants: connections with and without a certificate check share no TLS session, so
//! that none that began unchecked is resumed as a checked one; a connection without TLS costs nothing here.

use std::borrow::Cow;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use arc_swap::ArcSwapOption;
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

use super::dial::remaining;
use super::error::ConnectError;
use crate::domain::{BackendUrl, Scheme};

/// The TLS settings for backends. Cheap to clone; all clones share the TLS sessions.
#[derive(Clone, Debug)]
pub struct BackendTls {
    checked: OfferedConfigs,
    unchecked: OfferedConfigs,
    has_no_roots: bool,
    /// False if each connection makes a whole handshake.
    resumes: bool,
    /// The settings that a reload put in the place of these. All clones share them.
    replaced: Arc<ArcSwapOption<BackendTls>>,
}

/// The protocols that are offered to a backend in the handshake (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfferedProtocols {
    /// HTTP/1.1 alone, for what HTTP/2 has not: upgrades, and logins of a connection.
    Http1,
    /// HTTP/2 and HTTP/1.1, as the backend likes.
    Both,
    /// HTTP/2 alone.
    Http2,
}

/// The settings for each offer. They share their TLS sessions.
#[derive(Clone, Debug)]
struct OfferedConfigs {
    http1: Arc<ClientConfig>,
    both: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl OfferedConfigs {
    fn new(config: &ClientConfig) -> Self {
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        Self { http1: offering(&[HTTP1]), both: offering(&[HTTP2, HTTP1]), http2: offering(&[HTTP2]) }
    }

    fn of(&self, offered: OfferedProtocols) -> &Arc<ClientConfig> {
        match offered {
            OfferedProtocols::Http1 => &self.http1,
            OfferedProtocols::Both => &self.both,
            OfferedProtocols::Http2 => &self.http2,
        }
    }
}

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// True if the backend has chosen HTTP/2 in the handshake.
pub(crate) fn chose_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(HTTP2)
}

/// True if HTTP/2 is spoken on a connection to a backend with this scheme.
pub(crate) fn speaks_http2(stream: &BackendStream, scheme: Scheme) -> bool {
    match stream {
        Either::Left(_) => scheme == Scheme::H2c,
        Either::Right(stream) => chose_http2(stream),
    }
}

/// A connection to a backend, with or without TLS.
pub(crate) type BackendStream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// The most TLS sessions that are kept for resumption.
const SESSIONS_MAX: usize = 4096;

/// The authorities that this machine trusts. They are read when first needed.
static SYSTEM_ROOTS: LazyLock<RootCertStore> = LazyLock::new(|| {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, unfit) = roots.add_parsable_certificates(found.certs);
    tracing::debug!(added, unfit, errors = ?found.errors, "this machine's trusted authorities");
    roots
});

impl BackendTls {
    /// Returns settings that trust the authorities of this machine.
    pub fn new() -> Self {
        Self::with_roots(SYSTEM_ROOTS.clone())
    }

    /// Returns settings that also trust the authorities whose certificates are in `pem`.
    ///
    /// # Errors
    /// If it contains no certificate, or one that cannot be read. The error names that one.
    pub fn trusting(pem: &[u8]) -> Result<Self, String> {
        let mut roots = SYSTEM_ROOTS.clone();
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            count += 1;
            let certificate = certificate.map_err(|error| format!("its certificate {count} is no PEM: {error}"))?;
            roots.add(certificate).map_err(|error| format!("its certificate {count} cannot be read: {error}"))?;
        }
        if count == 0 { Err("it holds no certificate".to_owned()) } else { Ok(Self::with_roots(roots)) }
    }

    /// Returns settings that also trust the authorities in `pem`, if there are some.
    ///
    /// # Errors
    /// As [`Self::trusting`].
    pub fn trusting_also(pem: Option<&[u8]>) -> Result<Self, String> {
        pem.map_or_else(|| Ok(Self::new()), Self::trusting)
    }

    fn with_roots(roots: RootCertStore) -> Self {
        let provider = Arc::new(ring::default_provider());
        let has_no_roots = roots.is_empty();
        if has_no_roots {
            tracing::warn!("no trusted authorities: https backends fail unless tls_verify is off; see backends.ca");
        }
        let unchecked = builder(&provider).dangerous();
        let unchecked = unchecked.with_custom_certificate_verifier(Arc::new(AnyCertificate(Arc::clone(&provider))));
        let (checked, unchecked) = (finish(builder(&provider).with_root_certificates(roots)), finish(unchecked));
        Self {
            checked: OfferedConfigs::new(&checked),
            unchecked: OfferedConfigs::new(&unchecked),
            has_no_roots,
            resumes: true,
            replaced: Arc::default(),
        }
    }

    /// Puts `new` settings in the place of these, for the next handshake. Clones share them.
    pub fn replace(&self, new: Self) {
        self.replaced.store(Some(Arc::new(new)));
    }

    /// Returns what a reload has put in the place of these settings.
    pub(crate) fn replacement(&self) -> Option<Arc<Self>> {
        self.replaced.load_full()
    }

    /// Returns the settings that are in force.
    fn current(&self) -> Cow<'_, Self> {
        match self.replacement() {
            None => Cow::Borrowed(self),
            Some(new) if self.resumes => Cow::Owned(Self::clone(&new)),
            Some(new) => Cow::Owned(new.without_resumption()),
        }
    }

    /// Returns the same settings without resumption: each connection makes a whole handshake and sees the current certificate.
    pub(crate) fn without_resumption(&self) -> Self {
        let whole = |configs: &OfferedConfigs| {
            let mut config = ClientConfig::clone(&configs.http1);
            config.resumption = Resumption::disabled();
            OfferedConfigs::new(&config)
        };
        Self { checked: whole(&self.checked), unchecked: whole(&self.unchecked), resumes: false, ..self.clone() }
    }

    /// Makes the TLS handshake on `socket` before `end`. Returns `socket` as it is for a backend without TLS.
    pub(crate) async fn secure(
        &self,
        socket: TcpStream,
        backend: &BackendUrl,
        verify: bool,
        offered: OfferedProtocols,
        end: Instant,
    ) -> Result<BackendStream, ConnectError> {
        match backend.scheme() {
            Scheme::Http | Scheme::H2c => Ok(Either::Left(socket)),
            // It is boxed because it is large and rare.
            Scheme::Https => {
                let handshake = Box::pin(self.handshake(socket, backend, verify, offered, end));
                Ok(Either::Right(Box::new(handshake.await?)))
            }
        }
    }

    /// Makes the TLS handshake with a backend before `end`. The certificate must be for the host of its URL.
    pub(crate) async fn handshake(
        &self,
        socket: TcpStream,
        backend: &BackendUrl,
        verify: bool,
        offered: OfferedProtocols,
        end: Instant,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let tls = self.current();
        let config = if verify { &tls.checked } else { &tls.unchecked }.of(offered);
        let name = server_name(backend)?;
        let handshake = TlsConnector::from(Arc::clone(config)).connect(name, socket);
        let stream = timeout(remaining(end), handshake).await.map_err(|_| ConnectError::TooSlow)?;
        stream.map_err(|error| tls.explain(&error))
    }

    fn explain(&self, error: &io::Error) -> ConnectError {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::InvalidCertificate(_)) if self.has_no_roots => {
                ConnectError::Certificate("cannot be checked: no trusted authorities are installed here".to_owned())
            }
            Some(rustls::Error::InvalidCertificate(fault)) => ConnectError::Certificate(describe_fault(fault)),
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
    // It fails only for a provider without cipher suites for TLS 1.2 and 1.3.
    builder.expect("ring speaks TLS")
}

fn finish(builder: ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientConfig {
    let mut config = builder.with_no_client_auth();
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

/// Returns the fault of a certificate in words that follow "its certificate".
fn describe_fault(fault: &CertificateError) -> String {
    match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "is not valid yet".to_owned(),
        CertificateError::UnknownIssuer => UNTRUSTED.to_owned(),
        // A self-signed certificate that claims to be an authority's. The library has no name for this fault.
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => UNTRUSTED.to_owned(),
        CertificateError::NotValidForName => "is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, .. } => format!("is not for {}", expected.to_str()),
        other => format!("is not accepted: {other}"),
    }
}

/// A verifier that accepts every certificate, for routes with `tls_verify` off.
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

    // The signature is not checked: any key is accepted, and some of these certificates cannot be parsed.
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
