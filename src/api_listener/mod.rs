//! The API port: one listener for gRPC and REST, over HTTP/1.1 and HTTP/2, with TLS or without.
//!
//! It carries requests to their door and knows nothing of what they ask. What must hold: connections, streams of a
//! connection and heads are bounded; who is slow holds up nobody else; every request says who sent it
//! ([`CallerAddresses`]); when the server stops, what is under way is answered, and connections close behind it.

mod answer;
mod bodies;
mod bounds;
mod client_io;
mod frames;

use std::convert::Infallible;
use std::fmt::Display;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::rt::Executor;
use hyper::{HeaderMap, Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::connection_limits::{ConnectionActivity, ConnectionGuard, ConnectionRefusal, ConnectionStage};
use crate::lifecycle::{self, Lifecycle};
use crate::memory_budget::{MemoryBudget, MemoryFull};
use crate::operator_auth::{AllowedHosts, ApiRequest, CallerAddresses, Denied};
use crate::registry::LargeReadPermit;
use crate::sockets::{self, DescriptorShare, PortListener};
use crate::tls::Acceptor;

use answer::Streams;
pub use bounds::{ApiBounds, ClientTimeouts};
use client_io::ClientIo;

/// The most bytes of an HTTP/1.1 head.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Requests and streams of one HTTP/2 connection at once, while the memory lasts.
const STREAMS_MAX: u32 = 1024;
/// From so many bytes of a stream on that are not sent, hyper asks for no further piece.
const SEND_BYTES_MAX: usize = 64 * 1024 - answer::PIECE_BYTES;
/// Bytes that an HTTP/2 client may send before they were read: of a stream, and of all.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// An idle connection that makes way may take so long to close once it was told.
const PARTING_MAX: Duration = Duration::from_secs(5);
/// What a connection over the limit is told.
const REFUSAL: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
                       connection: close\r\ncontent-length: 114\r\n\r\n\
                       {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"too many connections; try again later\"}";

/// What the port leads to.
#[derive(Clone)]
pub struct ApiServices {
    /// True if a request is for gRPC, whatever it asks for.
    pub is_grpc: fn(&HeaderMap) -> bool,
    /// For those that are.
    pub grpc: Router,
    /// For all others.
    pub rest: Router,
    /// The hosts that a request may name, whatever it asks for.
    pub hosts: AllowedHosts,
    /// What a gRPC call is answered that names another.
    pub refuse_grpc: fn(Denied) -> Response,
    /// What any other request is answered then.
    pub refuse_rest: fn(Denied) -> Response,
}

impl ApiServices {
    /// Leads a request to its door.
    fn call(&self, request: Request<Body>) -> Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>> {
        let is_grpc = (self.is_grpc)(request.headers());
        if let Err(denied) = self.hosts.check(&ApiRequest::of(&request)) {
            // gRPC has no status for what is not even HTTP/1.1.
            let old = request.version() < Version::HTTP_2 && matches!(denied, Denied::Malformed(_));
            let refuse = if is_grpc && !old { self.refuse_grpc } else { self.refuse_rest };
            return Box::pin(std::future::ready(Ok(refuse(denied))));
        }
        let mut router = if is_grpc { self.grpc.clone() } else { self.rest.clone() };
        // A router is always ready.
        let answer = router.call(request);
        Box::pin(async { answer.await.map(hold) })
    }
}

/// What is spoken inside TLS (RFC 7301), the best first.
pub const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// Accepts connections until `lifecycle` is stopping, and serves each as a task of it, as many at once as `bounds` says. With `tls`, hands
/// are shaken first; it should speak [`PROTOCOLS`].
///
/// Whoever stops the server calls [`crate::registry::Registry::announce_shutdown`] first, which ends streams of events.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Acceptor>,
    doors: ApiServices,
    bounds: ApiBounds,
    lifecycle: Lifecycle,
) {
    let ApiBounds { connections, memory, patience } = bounds;
    let doors = Arc::new(doors);
    let server = Arc::new(builder(&lifecycle, patience));
    let stopping = lifecycle.stopping().clone();
    let mut port = PortListener::new(listener, "API");
    while let Some((stream, peer)) = stopping.run_until_cancelled(port.accept()).await {
        let used_up = DescriptorShare::Control.is_used_up(&stream, connections.open());
        let place = match if used_up { Err(ConnectionRefusal::Files) } else { connections.accept(peer.ip()) } {
            Ok(place) => place,
            Err(full) => {
                port.note_refused(&full);
                if tls.is_none() {
                    refuse(&stream);
                }
                continue;
            }
        };
        // A connection that is gone already has no address of its own any more.
        let Ok(local) = stream.local_addr() else { continue };
        let peer = CallerAddresses { address: peer, local };
        let (server, requests) =
            (Arc::clone(&server), Requests::new(Arc::clone(&doors), peer, &memory, &place, patience));
        let (stopping, tls) = (stopping.clone(), tls.clone());
        lifecycle.spawn_one("API connection", async move {
            if sockets::set_options(&stream).is_ok() {
                begin(tls, &server, stream, requests, &stopping).await;
            }
            drop(place);
        });
    }
}

/// A few words fit the empty buffer of a new socket without waiting; whether they are read is no longer our concern.
fn refuse(stream: &TcpStream) {
    let _ = stream.try_write(REFUSAL.as_bytes());
}

/// Shakes hands, where TLS is spoken, and serves the connection.
async fn begin(
    tls: Option<Acceptor>,
    server: &auto::Builder<Tasks>,
    stream: TcpStream,
    requests: Requests,
    stopping: &CancellationToken,
) {
    let Some(tls) = tls else { return carry(server, stream, requests, stopping.cancelled()).await };
    // BoxFuture: a plain connection has no room for it.
    let secure = Box::pin(async {
        let peer = requests.peer.address;
        let activity = Arc::clone(&requests.activity);
        tokio::select! {
            accepted = tls.accept(stream) => match accepted {
                Ok(stream) => carry(server, stream, requests, stopping.cancelled()).await,
                Err(error) => tracing::debug!(%peer, %error, "an API connection came to no TLS"),
            },
            () = stopping.cancelled() => {}
            () = activity.asked_to_close() => {}
        }
    });
    secure.await;
}

fn builder(lifecycle: &Lifecycle, patience: ClientTimeouts) -> auto::Builder<Tasks> {
    let mut builder = auto::Builder::new(Tasks { lifecycle: lifecycle.clone(), stall: patience.stall });
    builder.http1().timer(TokioTimer::new()).header_read_timeout(patience.head).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(patience.silence)
        .keep_alive_timeout(patience.pong)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX);
    builder
}

/// Serves one connection to its end; once `stopped`, only what is under way.
async fn carry<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    server: &auto::Builder<Tasks>,
    stream: S,
    requests: Requests,
    stopped: impl Future<Output = ()>,
) {
    let (stream, refused) =
        ClientIo::new(stream, requests.memory.connection(), &requests.activity, requests.patience.stall);
    converse(server, stream, requests, stopped).await;
    refused.part().await;
}

/// Serves the requests of a connection, until it is told to end.
async fn converse<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    server: &auto::Builder<Tasks>,
    stream: ClientIo<S>,
    requests: Requests,
    stopped: impl Future<Output = ()>,
) {
    let (peer, streams, activity) =
        (requests.peer.address, Arc::clone(&requests.streams), Arc::clone(&requests.activity));
    let mut stuck = pin!(stuck(&streams, requests.patience));
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), requests));
    let makes_way = tokio::select! {
        ended = connection.as_mut() => return broke(peer, ended),
        () = stuck.as_mut() => return,
        () = stopped => false,
        () = activity.asked_to_close() => true,
    };
    if makes_way && matches!(activity.stage(), ConnectionStage::Begun | ConnectionStage::Reading) {
        return;
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => broke(peer, ended),
        () = stuck => {}
        () = unused(&activity), if makes_way => {}
    }
}

/// Returns once a connection that makes way is in no use any more.
async fn unused(activity: &ConnectionActivity) {
    loop {
        tokio::time::sleep(PARTING_MAX).await;
        if activity.stage() != ConnectionStage::Used {
            return;
        }
    }
}

/// Takes note of how a connection ended.
fn broke(peer: SocketAddr, ended: Result<(), impl Display>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an API connection broke");
    }
}

/// Returns once a connection is of no use: no head has come in time, or nothing that waits for its client moves, not
/// even the reset of streams.
async fn stuck(streams: &Streams, patience: ClientTimeouts) {
    tokio::time::sleep(patience.head).await;
    let mut before = (0, 0);
    while streams.has_begun() {
        let now = streams.unsent();
        if now.0 > 0 && now == before {
            return;
        }
        before = now;
        tokio::time::sleep(2 * patience.stall).await;
    }
}

/// The requests of one connection, on their way to a door.
#[derive(Clone)]
struct Requests {
    doors: Arc<ApiServices>,
    peer: CallerAddresses,
    memory: MemoryBudget,
    activity: Arc<ConnectionActivity>,
    streams: Arc<Streams>,
    patience: ClientTimeouts,
}

impl Requests {
    fn new(
        doors: Arc<ApiServices>,
        peer: CallerAddresses,
        memory: &MemoryBudget,
        place: &ConnectionGuard,
        patience: ClientTimeouts,
    ) -> Self {
        let activity = Arc::clone(place.activity());
        let streams = Streams::new(memory.clone(), Arc::clone(&activity));
        Self { doors, peer, memory: memory.clone(), activity, streams, patience }
    }
}

impl hyper::service::Service<Request<Incoming>> for Requests {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        let last = bodies::is_last(&request);
        let http2 = request.version() == Version::HTTP_2;
        let (doors, streams) = (Arc::clone(&self.doors), Arc::clone(&self.streams));
        // In the task of the stream, which is watched.
        Box::pin(async move {
            let for_grpc = (doors.is_grpc)(request.headers());
            let refused = |_: MemoryFull| no_memory(for_grpc);
            let mut answer = match streams.begin() {
                Err(full) => refused(full),
                Ok(open) => {
                    let version = request.version();
                    let body = |body| {
                        if http2 { answer::counted_request(body, &open) } else { bodies::body(version, body) }
                    };
                    let answer = doors.call(request.map(body)).await?;
                    answer::counted(answer, open, http2).unwrap_or_else(refused)
                }
            };
            if last {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        })
    }
}

/// The answer to a request that there is no memory for. Without a body: that could wait for the client again.
fn no_memory(for_grpc: bool) -> Response {
    let mut response = Response::new(Body::empty());
    let fields = response.headers_mut();
    if for_grpc {
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        fields.insert("grpc-status", HeaderValue::from_static("8"));
        fields.insert("grpc-message", HeaderValue::from_static("there is no memory for the call; try again later"));
        return response;
    }
    fields.insert(RETRY_AFTER, HeaderValue::from_static("5"));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    response
}

/// Keeps what counts a large answer until the answer has been read, or nobody will.
fn hold(mut response: Response) -> Response {
    match response.extensions_mut().remove::<Arc<LargeReadPermit>>() {
        None => response,
        Some(reading) => response.map(|body| Body::new(Large { body, _reading: reading })),
    }
}

/// The body of a large answer. The gRPC door writes it when it is first asked for.
struct Large {
    body: Body,
    _reading: Arc<LargeReadPermit>,
}

impl hyper::body::Body for Large {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        lifecycle::at_length(|| Pin::new(&mut self.body).poll_frame(context))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs what an HTTP/2 connection needs beside itself.
#[derive(Clone)]
struct Tasks {
    lifecycle: Lifecycle,
    stall: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.lifecycle.spawn_one("API stream", answer::watched(task, self.stall));
    }
}
