//! TLS of the ports that callers connect to: their handshakes.
//!
//! TLS to backends is in `connect`, that of the proxy's clients in `proxy`, certificates are in `certificates`. Invariants: a handshake ends in time; the number of concurrent
//! handshakes is bounded; a stalled handshake delays no other and does not delay accepting.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificates::{ClientAuthorities, ServedCertificate};

/// The maximum time of a handshake, from the beginning of the connection.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// The maximum number of concurrent handshakes. A client that has sent nothing yet does not count.
const HANDSHAKES_MAX: usize = 1024;
/// The maximum time for a client to read why its handshake failed.
const LINGER: Duration = Duration::from_secs(1);

/// Accepts TLS connections. Cheap to clone; clones share their limits and sessions.
#[derive(Clone)]
pub struct Acceptor {
    port: Arc<ArcSwap<PortTls>>,
    permits: Arc<Semaphore>,
    time: Duration,
}

/// The TLS of a port with its client authorities. The certificate in it can be replaced.
struct PortTls {
    tls: TlsAcceptor,
    key: Arc<PortKey>,
    authorities: Option<Arc<ClientAuthorities>>,
    protocols: Vec<Vec<u8>>,
}

/// The certificate and key of a port. The settings that hold it stay the same when it is replaced, so that sessions go on
/// resuming.
#[derive(Debug)]
struct PortKey(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for PortKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl PortTls {
    fn new(certificate: &ServedCertificate, protocols: Vec<Vec<u8>>) -> Self {
        let key = Arc::new(PortKey(ArcSwap::from(Arc::clone(&certificate.key))));
        let mut config = certificate.port_config(Arc::clone(&key) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols.clone_from(&protocols);
        let authorities = certificate.authorities.clone();
        Self { tls: TlsAcceptor::from(Arc::new(config)), key, authorities, protocols }
    }
}

impl Acceptor {
    /// Creates an acceptor with a certificate for TLS 1.2 and 1.3, with `protocols` for ALPN, the preferred one first.
    pub fn new(certificate: &ServedCertificate, protocols: &[&str]) -> Self {
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let port = Arc::new(ArcSwap::from_pointee(PortTls::new(certificate, protocols)));
        Self { port, permits: Arc::new(Semaphore::new(HANDSHAKES_MAX)), time: HANDSHAKE_TIME }
    }

    /// Puts another certificate in the place of the present one, for the next handshake. Sessions go on resuming, unless
    /// clients need a certificate of other authorities now.
    pub fn set_certificate(&self, certificate: &ServedCertificate) {
        let port = self.port.load();
        if port.authorities == certificate.authorities {
            port.key.0.store(Arc::clone(&certificate.key));
        } else {
            self.port.store(Arc::new(PortTls::new(certificate, port.protocols.clone())));
        }
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
        let tls = self.port.load().tls.clone();
        tls.accept(stream).into_fallible().await.map_err(|(error, stream)| (error, Some(stream)))
    }
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::certificates::CertificateFiles;

    fn acceptor(time: Duration) -> (tempfile::TempDir, Acceptor) {
        let folder = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key) = (folder.path().join("cert"), folder.path().join("key"));
        std::fs::write(&cert, own.cert.pem()).unwrap();
        std::fs::write(&key, own.signing_key.serialize_pem()).unwrap();
        let files = CertificateFiles { section: "pipe", cert, key, client_ca: None };
        let acceptor = Acceptor { time, ..Acceptor::new(&ServedCertificate::load(&files, &[]).unwrap(), &[]) };
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
