//! Backends that speak HTTP/2: whole ones over the library, and ones that send exact frames.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::PATIENCE;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{Request, Response};

/// A request that a backend heard: its head, and its stream.
pub struct Exchange {
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
}

impl Exchange {
    /// Reads the whole body and the trailers.
    pub async fn body(&mut self) -> Result<(Vec<u8>, Option<http::HeaderMap>), h2::Error> {
        let stream = self.request.body_mut();
        let mut body = Vec::new();
        while let Some(data) = stream.data().await {
            let data = data?;
            stream.flow_control().release_capacity(data.len())?;
            body.extend_from_slice(&data);
        }
        Ok((body, stream.trailers().await?))
    }

    pub fn head(&mut self, status: u16, fields: &[(&'static str, &str)]) -> SendStream<Bytes> {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        self.respond.send_response(response.body(()).unwrap(), false).unwrap()
    }

    /// Answers with a body.
    pub async fn answer(&mut self, status: u16, body: impl Into<Bytes>) {
        let mut stream = self.head(status, &[]);
        send(&mut stream, body.into()).await;
        let _ = stream.send_data(Bytes::new(), true);
    }
}

/// Sends data as far as the window allows, and waits for the rest. Returns false if the stream was reset.
pub async fn send(stream: &mut SendStream<Bytes>, mut data: Bytes) -> bool {
    while !data.is_empty() {
        stream.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(Ok(room)) = room else { return false };
        if stream.send_data(data.split_to(room.min(data.len())), false).is_err() {
            return false;
        }
    }
    true
}

/// A backend that speaks HTTP/2 without TLS.
pub struct Http2Backend {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    heard: Mutex<Receiver<Request<()>>>,
}

impl Http2Backend {
    /// Runs a function for each request.
    pub fn new<F>(serve: impl Fn(Exchange) -> F + Send + Sync + Clone + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::with(h2::server::Builder::new(), move |exchange| Box::pin(serve(exchange)))
    }

    /// Like `new`, with settings of the connections.
    pub fn with(
        settings: h2::server::Builder,
        serve: impl Fn(Exchange) -> BoxFuture<'static, ()> + Send + Sync + Clone + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (tell, heard) = channel();
        let counted = Arc::clone(&connections);
        let accept = async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve_connection(socket, settings.clone(), serve.clone(), tell.clone()));
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        thread::spawn(move || runtime.block_on(accept));
        Self { address, connections, heard: Mutex::new(heard) }
    }

    /// Answers every request with 200 and the request's own body, or with the name if it has none.
    pub fn named(name: &'static str) -> Self {
        Self::new(move |mut exchange| async move {
            let Ok((body, _)) = exchange.body().await else { return };
            exchange.answer(200, if body.is_empty() { Bytes::from(name) } else { body.into() }).await;
        })
    }

    pub fn url(&self) -> String {
        format!("h2c://{}", self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Waits for the head of the next request.
    pub fn heard(&self) -> Request<()> {
        self.heard.lock().unwrap().recv_timeout(PATIENCE).expect("the backend heard nothing")
    }
}

async fn serve_connection(
    socket: tokio::net::TcpStream,
    settings: h2::server::Builder,
    serve: impl Fn(Exchange) -> BoxFuture<'static, ()>,
    tell: Sender<Request<()>>,
) {
    let _ = socket.set_nodelay(true);
    let Ok(mut connection) = settings.handshake::<_, Bytes>(socket).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let mut head = Request::new(());
        *head.method_mut() = request.method().clone();
        *head.uri_mut() = request.uri().clone();
        *head.headers_mut() = request.headers().clone();
        let _ = tell.send(head);
        tokio::spawn(serve(Exchange { request, respond }));
    }
}

/// A frame (RFC 9113 §4.1).
#[derive(Debug)]
pub struct RawFrame {
    pub kind: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
/// The flags of a frame that is the whole message.
pub const WHOLE: u8 = 5;
/// A head with `:status: 200` (RFC 7541, appendix A).
pub const OK: &[u8] = &[0x88];

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection of a client that prior knowledge has made speak HTTP/2, frame by frame.
pub struct RawHttp2(TcpStream);

impl RawHttp2 {
    /// Reads the preface and sends empty settings.
    pub fn begin(mut socket: TcpStream) -> Option<Self> {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.read_exact(&mut [0; 24]).ok()?;
        let mut begun = Self(socket);
        begun.send(&frame(SETTINGS, 0, 0, &[]));
        Some(begun)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    pub fn next(&mut self) -> Option<RawFrame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(RawFrame { kind: head[3], stream, payload })
    }

    /// Waits for the next frame of a kind.
    pub fn wait(&mut self, kind: u8) -> Option<RawFrame> {
        loop {
            let frame = self.next()?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }
}

/// Runs a function for each connection, with its number from 0, on a thread of its own. Returns the URL.
pub fn raw_backend(serve: impl Fn(usize, RawHttp2) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("h2c://{}", listener.local_addr().unwrap());
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for (number, socket) in listener.incoming().map_while(Result::ok).enumerate() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || RawHttp2::begin(socket).into_iter().for_each(|raw| serve(number, raw)));
        }
    });
    url
}
