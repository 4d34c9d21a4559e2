//! A client of HTTP/2, and raw frames for what no client sends.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use super::PATIENCE;
use super::tls::TlsClient;
use super::wire::Wire;

/// The bytes with which a client begins, and empty settings.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A connection. It moves on a thread of its own; each wait ends after `PATIENCE`.
pub struct Http2Client {
    runtime: Runtime,
    sender: SendRequest<Bytes>,
    ended: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

/// A response as it was received.
#[derive(Debug)]
pub struct Http2Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Http2Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Http2Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::with(address, |_| {})
    }

    pub fn with(address: SocketAddr, change: impl FnOnce(&mut Builder)) -> Self {
        let mut builder = Builder::new();
        change(&mut builder);
        Self::on(&builder, TcpStream::connect(address))
    }

    /// Connects over TLS, and asks for `name`.
    pub fn secure(client: &TlsClient, address: SocketAddr, name: &str) -> Self {
        let (tls, name) =
            (TlsConnector::from(Arc::new(client.config())), ServerName::try_from(name.to_owned()).unwrap());
        Self::on(&Builder::new(), async move { tls.connect(name, TcpStream::connect(address).await?).await })
    }

    fn on<S>(builder: &Builder, socket: impl Future<Output = std::io::Result<S>>) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (sender, ended) = runtime.block_on(async {
            let (sender, connection) = builder.handshake(socket.await.unwrap()).await.unwrap();
            (sender, tokio::spawn(connection))
        });
        Self { runtime, sender, ended }
    }

    /// Waits for `work`.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        let limited = async { tokio::time::timeout(PATIENCE, work).await };
        self.runtime.block_on(limited).expect("still waiting")
    }

    /// Sends the head of a request. The body follows on the stream that it returns, unless there is none.
    pub fn begin(&mut self, request: Request<()>, is_whole: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let ready = self.wait(self.sender.clone().ready()).unwrap();
        self.sender = ready;
        self.sender.send_request(request, is_whole).unwrap()
    }

    pub fn get(&mut self, target: &str) -> Result<Http2Response, h2::Error> {
        let (response, _) = self.begin(Request::get(target).body(()).unwrap(), true);
        self.finish(response)
    }

    /// Waits for a whole response.
    pub fn finish(&self, response: ResponseFuture) -> Result<Http2Response, h2::Error> {
        self.wait(async {
            let (head, mut stream) = response.await?.into_parts();
            let body = read(&mut stream).await?;
            let trailers = stream.trailers().await?;
            Ok(Http2Response { status: head.status, headers: head.headers, body, trailers })
        })
    }

    /// Returns the heads of interim responses before the response.
    pub fn interim(&self, response: &mut ResponseFuture) -> Vec<http::Response<()>> {
        self.wait(async {
            let mut found = Vec::new();
            while let Some(head) = poll_fn(|cx| response.poll_informational(cx)).await {
                found.push(head.unwrap());
            }
            found
        })
    }

    /// Waits until the server has ended the connection.
    pub fn ended(self) -> Result<(), h2::Error> {
        drop(self.sender);
        let limited = async { tokio::time::timeout(PATIENCE, self.ended).await };
        self.runtime.block_on(limited).expect("the connection is still open").unwrap()
    }
}

async fn read(stream: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = stream.data().await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(body)
}

/// Returns the reason of an error.
pub fn reason(error: &h2::Error) -> Option<Reason> {
    error.reason()
}

/// Returns a frame (RFC 9113 §4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Returns a header block with fields that use no table (RFC 7541 §6.2.2). Names and values have less than 127 bytes.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

/// The pseudo fields of a plain request.
pub const GET: [(&str, &str); 4] = [(":method", "GET"), (":scheme", "http"), (":authority", "a"), (":path", "/")];

/// A raw connection after its preface.
pub fn raw(address: SocketAddr) -> Wire {
    let mut wire = Wire::connect(address);
    wire.send(PREFACE);
    wire
}

/// A frame that came.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// Reads the next frame. Returns `None` once the connection has ended.
pub fn next_frame(wire: &mut Wire) -> Option<Frame> {
    let head = wire.exactly(9)?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some(Frame { kind: head[3], flags: head[4], stream, payload: wire.exactly(length as usize)? })
}

/// Reads frames until one is as wanted. Returns `None` if the connection ends first.
pub fn until_frame(wire: &mut Wire, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
    loop {
        let frame = next_frame(wire)?;
        if wanted(&frame) {
            return Some(frame);
        }
    }
}
