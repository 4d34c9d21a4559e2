//! TLS of the ports that callers connect to: certificates from files, and handshakes.
//!
//! TLS to backends is not here but in `connect`. Invariants: a handshake ends in time; the number of concurrent
//! handshakes is bounded; a stalled handshake delays no other and does not delay accepting; an error of a file names
//! its configuration key.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring::{Ticketer, default_provider};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, ConfigBuilder, RootCertStore, ServerConfig, WantsVerifier};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::clock;

/// The maximum time of a handshake, from the beginning of the connection.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// The maximum number of concurrent handshakes. A client that has sent nothing yet does not count.
const HANDSHAKES_MAX: usize = 1024;
/// The maximum time for a client to read why its handshake failed.
const LINGER: Duration = Duration::from_secs(1);

/// The files of a port's TLS. Their keys are in the port's section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The section of the configuration.
    pub section: &'static str,
    /// Key `cert`: the certificate chain as PEM, the port's own certificate first.
    pub cert: PathBuf,
    /// Key `key`: the private key of the first certificate, as PEM.
    pub key: PathBuf,
    /// Key `client_ca`: the authorities of client certificates. Without it clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// The reason why the files cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{section}.{key}: {} {why}", .file.display())]
pub struct TlsFileError {
    section: &'static str,
    key: &'static str,
    file: PathBuf,
    why: String,
}

/// Accepts TLS connections. Cheap to clone; clones share their limits and sessions.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    permits: Arc<Semaphore>,
    time: Duration,
}

impl Acceptor {
    /// Loads `files` for TLS 1.2 and 1.3, with `protocols` for ALPN, the preferred one first.
    ///
    /// # Errors
    /// If a file cannot be read or used; the error names its key. An expired certificate is only logged.
    pub fn load(files: &CertificateFiles, protocols: &[&str]) -> Result<Self, TlsFileError> {
        let chain = files.chain()?;
        let key = files.private_key()?;
        files.warn_of_dates(&chain);
        let builder = match files.clients()? {
            None => builder().with_no_client_auth(),
            Some(clients) => builder().with_client_cert_verifier(clients),
        };
        let mut config = builder.with_single_cert(chain, key).map_err(|error| files.mismatch(&error))?;
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        // Without random numbers there are no tickets, and sessions are resumed from memory.
        config.ticketer = Ticketer::new().unwrap_or(config.ticketer);
        let tls = TlsAcceptor::from(Arc::new(config));
        Ok(Self { tls, permits: Arc::new(Semaphore::new(HANDSHAKES_MAX)), time: HANDSHAKE_TIME })
    }

    /// Does the handshake with a new client. Takes 10 s at most. Cancelling closes the connection.
    ///
    /// # Errors
    /// If the client is too slow, does not speak TLS, or lacks a required certificate. Then the connection is closed.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let accepted = timeout(self.time, self.handshake(stream)).await;
        match accepted.unwrap_or_else(|_| Err((io::ErrorKind::TimedOut.into(), None))) {
            Ok(stream) => Ok(stream),
            Err((error, stream)) => {
                if let Some(stream) = stream {
                    drain_and_close(stream).await;
                }
                Err(error)
            }
        }
    }

    async fn handshake(&self, stream: TcpStream) -> Result<TlsStream<TcpStream>, (io::Error, Option<TcpStream>)> {
        stream.readable().await.map_err(|error| (error, None))?;
        // Never closed.
        let _permit = self.permits.acquire().await;
        self.tls.accept(stream).into_fallible().await.map_err(|(error, stream)| (error, Some(stream)))
    }
}

fn builder() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()));
    // Fails only for a provider without cipher suites for TLS 1.2 and 1.3.
    builder.with_safe_default_protocol_versions().expect("ring speaks TLS")
}

/// Lets the client read the alert. Closing a socket with unread bytes would reset the connection and discard the
/// alert (RFC 9293 §3.6.1).
async fn drain_and_close(mut stream: TcpStream) {
    let drain = async {
        stream.shutdown().await?;
        let mut dropped = [0; 1024];
        while stream.read(&mut dropped).await? > 0 {}
        io::Result::Ok(())
    };
    // The connection ends here, also if the client does not close in time.
    let _ = timeout(LINGER, drain).await;
}

impl CertificateFiles {
    fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
        let file_error = |why| self.file_error("cert", &self.cert, why);
        certificates(&self.cert).map_err(file_error)
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsFileError> {
        let file_error = |why| self.file_error("key", &self.key, why);
        let pem = read(&self.key).map_err(file_error)?;
        PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
            file_error(match error {
                pem::Error::NoItemsFound if memchr::memmem::find(&pem, b"BEGIN ENCRYPTED PRIVATE KEY").is_some() => {
                    "holds an encrypted private key; it must not be encrypted".to_owned()
                }
                pem::Error::NoItemsFound => "holds no private key".to_owned(),
                other => format!("holds no private key that can be read: {other}"),
            })
        })
    }

    /// Returns the verifier of client certificates, if they are required.
    fn clients(&self) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsFileError> {
        let Some(file) = &self.client_ca else { return Ok(None) };
        let file_error = |why| self.file_error("client_ca", file, why);
        let mut roots = RootCertStore::empty();
        for (at, certificate) in certificates(file).map_err(file_error)?.into_iter().enumerate() {
            let added = roots.add(certificate);
            added.map_err(|error| file_error(format!("cannot be used: its certificate {}: {error}", at + 1)))?;
        }
        let provider = Arc::new(default_provider());
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        clients.map(Some).map_err(|error| file_error(format!("cannot be used: {error}")))
    }

    fn mismatch(&self, error: &rustls::Error) -> TlsFileError {
        match error {
            rustls::Error::InconsistentKeys(_) => {
                let (section, cert) = (self.section, self.cert.display());
                self.file_error(
                    "key",
                    &self.key,
                    format!("is not the key of the certificate in {cert} ({section}.cert)"),
                )
            }
            rustls::Error::InvalidCertificate(_) => {
                self.file_error("cert", &self.cert, format!("cannot be used: {error}"))
            }
            other => self.file_error("key", &self.key, format!("cannot be used: {other}")),
        }
    }

    /// Logs a warning if the certificate is out of date. The port serves nevertheless, because some clients do not
    /// check.
    fn warn_of_dates(&self, chain: &[CertificateDer<'_>]) {
        let cert = self.cert.display();
        match out_of_date(chain) {
            Some(DateFault::Over) => tracing::warn!(section = self.section, %cert, "the certificate has expired"),
            Some(DateFault::ToCome) => {
                tracing::warn!(section = self.section, %cert, "the certificate is not valid yet");
            }
            None => {}
        }
    }

    fn file_error(&self, key: &'static str, file: &Path, why: String) -> TlsFileError {
        TlsFileError { section: self.section, key, file: file.to_owned(), why }
    }
}

/// The reason why a certificate is not valid now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DateFault {
    Over,
    ToCome,
}

/// Verifies the chain as a client would. Dates are checked first, so the trusted roots do not matter.
fn out_of_date(chain: &[CertificateDer<'_>]) -> Option<DateFault> {
    let (own, others) = chain.split_first()?;
    let mut roots = RootCertStore::empty();
    roots.add(chain.last()?.clone().into_owned()).ok()?;
    let client = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider())).build();
    let now = UnixTime::since_unix_epoch(Duration::from_millis(clock::on_the_wall(clock::now()).0));
    let name = ServerName::try_from("any.example").ok()?;
    match client.ok()?.verify_server_cert(own, others, &name, &[], now).err()? {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Some(DateFault::Over)
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => Some(DateFault::ToCome),
        _ => None,
    }
}

/// Reads the certificates in a file, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| format!("holds a certificate that is no PEM: {error}"))?;
    if found.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(found) }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn acceptor(time: Duration) -> (tempfile::TempDir, Acceptor) {
        let folder = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
        std::fs::write(&cert, own.cert.pem()).unwrap();
        std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
        let files = CertificateFiles { section: "pipe", cert, key, client_ca: None };
        let acceptor = Acceptor { time, ..Acceptor::load(&files, &[]).unwrap() };
        (folder, acceptor)
    }

    #[tokio::test]
    async fn a_handshake_that_hangs_is_given_up_whether_or_not_it_began() {
        let (_folder, acceptor) = acceptor(Duration::from_millis(20));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for words in [&b""[..], b"\x16\x03\x01"] {
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            client.write_all(words).await.unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            let Err(error) = acceptor.accept(stream).await else { panic!("hands were accepted") };
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            let ended = client.read(&mut [0; 1]).await;
            assert!(matches!(ended, Ok(0) | Err(_)), "it is closed");
            assert_eq!(acceptor.permits.available_permits(), HANDSHAKES_MAX);
        }
    }
}
