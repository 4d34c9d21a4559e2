//! The client that carries messages over HTTP/1.1, one connection for each: they come once a second at most.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The most bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Sends single messages.
#[derive(Clone, Debug)]
pub(super) struct MessageClient {
    timeout: Duration,
    tls: Arc<ClientConfig>,
}

impl MessageClient {
    /// Creates a client that trusts the certificates of the machine.
    pub(super) fn new(timeout: Duration) -> Self {
        let mut roots = RootCertStore::empty();
        // A machine without certificates reaches collectors over plain http.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { timeout, tls: Arc::new(tls) }
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri().clone();
        let host = uri.host().ok_or("the URL has no host")?.trim_matches(['[', ']']).to_owned();
        let is_secure = uri.scheme_str() == Some("https");
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        if !is_secure {
            return exchange(stream, &uri, request).await;
        }
        let name = ServerName::try_from(host)?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        exchange(stream, &uri, request).await
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    uri: &Uri,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let (mut head, body) = request.into_parts();
    head.uri = uri.path_and_query().map_or_else(Uri::default, |target| target.clone().into());
    if let Some(authority) = uri.authority() {
        head.headers.insert(header::HOST, authority.as_str().parse()?);
    }
    let exchanged = async move {
        let response = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await?.to_bytes();
        Ok(Response::from_parts(head, body))
    };
    // The connection ends once its sender is dropped.
    join(exchanged, connection).await.0
}

impl HttpClient for MessageClient {
    fn send_bytes<'life0, 'async_trait>(
        &'life0 self,
        request: Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move { tokio::time::timeout(self.timeout, self.send(request)).await? })
    }
}
