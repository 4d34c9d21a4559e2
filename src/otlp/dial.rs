//! Connections to a collector: TCP, and TLS for `https`.

use std::fmt;
use std::io;
use std::sync::Arc;

use http::Uri;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A stream of bytes in both directions.
pub(super) trait CollectorStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> CollectorStream for T {}

/// Connects to one collector. Cheap to clone.
#[derive(Clone)]
pub(super) struct Dialer {
    host: Arc<str>,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

impl fmt::Debug for Dialer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}", self.host, self.port)
    }
}

impl Dialer {
    /// Returns a dialer to the host of a URL, which trusts the certificates of the machine. `protocols` are offered over TLS (ALPN).
    pub(super) fn new(url: &Uri, protocols: &[&[u8]]) -> Self {
        let is_secure = url.scheme_str() == Some("https");
        let host = url.host().unwrap_or_default().trim_matches(['[', ']']).into();
        let port = url.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        Self { host, port, tls: is_secure.then(|| tls(protocols)) }
    }

    /// Connects.
    ///
    /// # Errors
    /// If the collector cannot be reached, or its certificate is not trusted.
    pub(super) async fn dial(&self) -> io::Result<Box<dyn CollectorStream>> {
        let stream = TcpStream::connect((&*self.host, self.port)).await?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name = ServerName::try_from(self.host.to_string()).map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?))
    }
}

fn tls(protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    // A machine without certificates reaches collectors over plain http alone.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(tls)
}
