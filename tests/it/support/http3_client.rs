//! A client of HTTP/3.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use h3::error::StreamError;
use h3_quinn::{BidiStream, OpenStreams};
use http::{HeaderMap, Request, StatusCode};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, TransportConfig};
use tokio::runtime::Runtime;

use super::PATIENCE;
use super::tls::TlsClient;

/// A stream with a request.
pub type Stream = RequestStream<BidiStream<Bytes>, Bytes>;

/// A connection. It moves on a thread of its own; each wait ends after `PATIENCE`.
pub struct Http3Client {
    runtime: Runtime,
    _endpoint: Endpoint,
    /// The QUIC connection.
    pub quic: quinn::Connection,
    sender: SendRequest<OpenStreams, Bytes>,
}

/// A response as it was received.
#[derive(Debug)]
pub struct Http3Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Http3Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Http3Client {
    /// Connects and waits until both sides have sent their settings.
    pub fn connect(tls: &TlsClient, address: SocketAddr, name: &str) -> Result<Self, String> {
        Self::with(tls, address, name, |_| {})
    }

    pub fn with(
        tls: &TlsClient,
        address: SocketAddr,
        name: &str,
        change: impl FnOnce(&mut TransportConfig),
    ) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut transport = TransportConfig::default();
        change(&mut transport);
        let mut rustls = tls.clone();
        (rustls.versions, rustls.protocols) = (vec![&rustls::version::TLS13], vec!["h3"]);
        let config = Arc::new(QuicClientConfig::try_from(rustls.config()).unwrap());
        let mut config = ClientConfig::new(config);
        config.transport_config(Arc::new(transport));
        let connecting = async {
            let endpoint = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
            let quic = endpoint.connect_with(config, address, name).unwrap();
            let quic = quic.await.map_err(|error| error.to_string())?;
            let begun = h3::client::new(h3_quinn::Connection::new(quic.clone())).await;
            let (mut connection, sender) = begun.map_err(|error| error.to_string())?;
            tokio::spawn(async move { poll_fn(|cx| connection.poll_close(cx)).await });
            Ok::<_, String>((endpoint, quic, sender))
        };
        let limited = async { tokio::time::timeout(PATIENCE, connecting).await };
        let (endpoint, quic, sender) = runtime.block_on(limited).expect("no connection in time")?;
        Ok(Self { runtime, _endpoint: endpoint, quic, sender })
    }

    /// Waits for `work`.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        let limited = async { tokio::time::timeout(PATIENCE, work).await };
        self.runtime.block_on(limited).expect("still waiting")
    }

    /// Sends the head of a request.
    pub fn begin(&self, request: Request<()>) -> Stream {
        self.try_to_begin(request).unwrap()
    }

    fn try_to_begin(&self, request: Request<()>) -> Result<Stream, StreamError> {
        let mut sender = self.sender.clone();
        self.wait(async { sender.send_request(request).await })
    }

    /// Sends a whole request and waits for the response.
    pub fn ask(&self, request: Request<()>, body: &[u8]) -> Result<Http3Response, StreamError> {
        // The server may have closed the connection.
        let mut stream = self.try_to_begin(request)?;
        let body = Bytes::copy_from_slice(body);
        self.wait(async {
            if !body.is_empty() {
                stream.send_data(body).await?;
            }
            stream.finish().await?;
            finish(&mut stream).await
        })
    }

    pub fn get(&self, target: &str) -> Result<Http3Response, StreamError> {
        self.ask(Request::get(target).body(()).unwrap(), b"")
    }

    /// Waits for a whole response.
    pub fn finish(&self, stream: &mut Stream) -> Result<Http3Response, StreamError> {
        self.wait(finish(stream))
    }

    /// Waits until the server has closed the connection, and returns the code that it gave (RFC 9114 §8.1).
    pub fn closed_by_server(self) -> u64 {
        // While there is a sender, the client does not close the connection by itself.
        match self.wait(self.quic.closed()) {
            quinn::ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("the server did not close the connection: {other}"),
        }
    }
}

async fn finish(stream: &mut Stream) -> Result<Http3Response, StreamError> {
    let head = stream.recv_response().await?;
    let mut body = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    let trailers = stream.recv_trailers().await?;
    Ok(Http3Response { status: head.status(), headers: head.headers().clone(), body, trailers })
}
