//! The API port: one listener for gRPC and REST, over HTTP/1.1 and HTTP/2, with or without TLS.
//!
//! It passes requests to their interface and knows nothing of their content. Invariants: connections, streams of
//! a connection and heads are bounded; a slow client delays nobody else; every request carries the addresses of its
//! connection ([`CallerAddresses`]); at a stop, running requests are answered and then their connections close.

mod bounds;
mod chunked_bodies;
mod client_io;
mod stream_bodies;

use std::convert::Infallible;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::rt::Executor;
use hyper::{HeaderMap, Request, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::connection_limits::{ConnectionActivity, ConnectionGuard, ConnectionRefusal, ConnectionStage, WireProtocol};
use crate::lifecycle::{self, Lifecycle};
use crate::memory_budget::{MemoryBudget, MemoryFull};
use crate::operator_auth::{AllowedHosts, ApiRequest, CallerAddresses, Denied};
use crate::registry::LargeReadPermit;
use crate::sockets::{self, DescriptorShare, PortListener};
use crate::tls::Acceptor;
use crate::traffic::{Peer, client_address};

pub use bounds::{ApiBounds, ClientTimeouts};
use client_io::ClientIo;
use stream_bodies::ConnectionStreams;

/// The maximum size of an HTTP/1.1 head in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The maximum number of concurrent streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 1024;
/// The number of unsent bytes of a stream at which hyper stops asking for more.
const SEND_BYTES_MAX: usize = 64 * 1024 - stream_bodies::PIECE_BYTES;
/// The HTTP/2 flow-control windows: the number of unread bytes per stream and per connection.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// The interval at which an idle connection that was asked to close is checked.
const CLOSE_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// The response to a connection over the limit.
const REFUSAL: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
                       connection: close\r\ncontent-length: 114\r\n\r\n\
                       {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"detail\":\"too many connections; try again later\"}";

/// The interfaces that the port serves.
#[derive(Clone)]
pub struct ApiServices {
    /// Returns true if a request is a gRPC call.
    pub is_grpc: fn(&HeaderMap) -> bool,
    /// Serves gRPC calls.
    pub grpc: Router,
    /// Serves all other requests.
    pub rest: Router,
    /// The hosts that requests may name.
    pub hosts: AllowedHosts,
    /// The networks of proxies that are believed what they say about their clients.
    pub trusted_proxies: Vec<IpNet>,
    /// Creates the response to a gRPC call that names another host.
    pub refuse_grpc: fn(Denied) -> Response,
    /// Creates the response to any other request that names another host.
    pub refuse_rest: fn(Denied) -> Response,
}

impl ApiServices {
    /// Returns the address of the client of a request that came from `peer`.
    fn client_of<B>(&self, request: &Request<B>, peer: IpAddr) -> IpAddr {
        if self.trusted_proxies.is_empty() {
            return peer.to_canonical();
        }
        client_address(request.headers(), &Peer::new(peer, &self.trusted_proxies), &self.trusted_proxies)
    }

    /// Passes a request to its interface.
    fn call(&self, request: Request<Body>) -> Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>> {
        let is_grpc = (self.is_grpc)(request.headers());
        if let Err(denied) = self.hosts.check(&ApiRequest::of(&request)) {
            // gRPC has no status for requests older than HTTP/2.
            let old = request.version() < Version::HTTP_2 && matches!(denied, Denied::Malformed(_));
            let refuse = if is_grpc && !old { self.refuse_grpc } else { self.refuse_rest };
            return Box::pin(std::future::ready(Ok(refuse(denied))));
        }
        let mut router = if is_grpc { self.grpc.clone() } else { self.rest.clone() };
        // A router is always ready.
        let answer = router.call(request);
        Box::pin(async { answer.await.map(hold_read_permit) })
    }
}

/// The protocols inside TLS (RFC 7301), the preferred one first.
pub const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// Accepts connections until `lifecycle` is stopping, and serves each in a task of its own, within `bounds`. With
/// `tls`, which should offer [`PROTOCOLS`], connections begin with a handshake.
///
/// New `services` are those of new connections.
///
/// Before a stop, the caller must call [`crate::registry::Registry::announce_shutdown`], which ends event streams.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Acceptor>,
    services: Arc<ArcSwap<ApiServices>>,
    bounds: ApiBounds,
    lifecycle: Lifecycle,
) {
    let ApiBounds { connections, memory, timeouts } = bounds;
    let server = Arc::new(builder(&lifecycle, timeouts));
    let stopping = lifecycle.stopping().clone();
    let mut port = PortListener::new(listener, "API");
    while let Some((stream, peer)) = stopping.run_until_cancelled(port.accept()).await {
        let used_up = DescriptorShare::Control.is_used_up(&stream, connections.open());
        let place = match if used_up { Err(ConnectionRefusal::Files) } else { connections.accept(peer.ip()) } {
            Ok(place) => place,
            Err(full) => {
                connections.counts().refused();
                port.note_refused(&full);
                if tls.is_none() {
                    refuse(&stream);
                }
                continue;
            }
        };
        // A connection that is gone already has no local address.
        let Ok(local) = stream.local_addr() else { continue };
        let peer = CallerAddresses { address: peer, local, client: peer.ip().to_canonical() };
        let (server, requests) =
            (Arc::clone(&server), ConnectionService::new(services.load_full(), peer, &memory, &place, timeouts));
        let (stopping, tls) = (stopping.clone(), tls.clone());
        lifecycle.spawn_one("API connection", async move {
            if sockets::set_options(&stream).is_ok() {
                handshake_and_serve(tls, &server, stream, requests, &stopping).await;
            }
            drop(place);
        });
    }
}

/// Sends the refusal. It fits into the empty buffer of a new socket without waiting.
fn refuse(stream: &TcpStream) {
    let _ = stream.try_write(REFUSAL.as_bytes());
}

/// Does the TLS handshake, if any, and serves the connection.
async fn handshake_and_serve(
    tls: Option<Acceptor>,
    server: &auto::Builder<StreamExecutor>,
    stream: TcpStream,
    requests: ConnectionService,
    stopping: &CancellationToken,
) {
    let Some(tls) = tls else { return serve_connection(server, stream, requests, stopping.cancelled()).await };
    // Boxed, so that plain connections need no room for it.
    let secure = Box::pin(async {
        let peer = requests.peer.address;
        let activity = Arc::clone(&requests.activity);
        tokio::select! {
            accepted = tls.accept(stream) => match accepted {
                Ok(stream) => serve_connection(server, stream, requests, stopping.cancelled()).await,
                Err(error) => {
                    activity.handshake_failed();
                    tracing::debug!(%peer, %error, "an API connection came to no TLS");
                }
            },
            () = stopping.cancelled() => {}
            () = activity.asked_to_close() => {}
        }
    });
    secure.await;
}

fn builder(lifecycle: &Lifecycle, timeouts: ClientTimeouts) -> auto::Builder<StreamExecutor> {
    let mut builder = auto::Builder::new(StreamExecutor { lifecycle: lifecycle.clone(), stall: timeouts.stall });
    builder.http1().timer(TokioTimer::new()).header_read_timeout(timeouts.head).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(timeouts.silence)
        .keep_alive_timeout(timeouts.pong)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX);
    builder
}

/// Serves one connection to its end. Once `stopped`, only running requests are finished.
async fn serve_connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    server: &auto::Builder<StreamExecutor>,
    stream: S,
    requests: ConnectionService,
    stopped: impl Future<Output = ()>,
) {
    let (stream, refused) =
        ClientIo::new(stream, requests.memory.connection(), &requests.activity, requests.timeouts.stall);
    serve_until_stopped(server, stream, requests, stopped).await;
    refused.close().await;
}

/// Serves the requests of a connection until it is asked to end.
async fn serve_until_stopped<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    server: &auto::Builder<StreamExecutor>,
    stream: ClientIo<S>,
    requests: ConnectionService,
    stopped: impl Future<Output = ()>,
) {
    let (peer, streams, activity) =
        (requests.peer.address, Arc::clone(&requests.streams), Arc::clone(&requests.activity));
    let mut stalled = pin!(stalled(&streams, requests.timeouts));
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), requests));
    let makes_way = tokio::select! {
        ended = connection.as_mut() => return log_failure(peer, ended),
        () = stalled.as_mut() => return,
        () = stopped => false,
        () = activity.asked_to_close() => true,
    };
    if makes_way && matches!(activity.stage(), ConnectionStage::Begun | ConnectionStage::Reading) {
        return;
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => log_failure(peer, ended),
        () = stalled => {}
        () = unused(&activity), if makes_way => {}
    }
}

/// Returns once a connection that was asked to close is not in use.
async fn unused(activity: &ConnectionActivity) {
    loop {
        tokio::time::sleep(CLOSE_CHECK_INTERVAL).await;
        if activity.stage() != ConnectionStage::Used {
            return;
        }
    }
}

/// Logs the error that ended a connection.
fn log_failure(peer: SocketAddr, ended: Result<(), impl Display>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "an API connection broke");
    }
}

/// Returns once a connection is of no use: no head came in time, or nothing that waits for its client moves.
async fn stalled(streams: &ConnectionStreams, timeouts: ClientTimeouts) {
    tokio::time::sleep(timeouts.head).await;
    let mut before = (0, 0);
    while streams.has_begun() {
        let now = streams.unsent();
        if now.0 > 0 && now == before {
            return;
        }
        before = now;
        tokio::time::sleep(2 * timeouts.stall).await;
    }
}

/// The service for the requests of one connection.
#[derive(Clone)]
struct ConnectionService {
    services: Arc<ApiServices>,
    peer: CallerAddresses,
    memory: MemoryBudget,
    activity: Arc<ConnectionActivity>,
    streams: Arc<ConnectionStreams>,
    timeouts: ClientTimeouts,
}

impl ConnectionService {
    fn new(
        services: Arc<ApiServices>,
        peer: CallerAddresses,
        memory: &MemoryBudget,
        place: &ConnectionGuard,
        timeouts: ClientTimeouts,
    ) -> Self {
        let activity = Arc::clone(place.activity());
        let streams = ConnectionStreams::new(memory.clone(), Arc::clone(&activity));
        Self { services, peer, memory: memory.clone(), activity, streams, timeouts }
    }
}

impl hyper::service::Service<Request<Incoming>> for ConnectionService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let client = self.services.client_of(&request, self.peer.address.ip());
        request.extensions_mut().insert(CallerAddresses { client, ..self.peer });
        let last = chunked_bodies::is_last(&request);
        let http2 = request.version() == Version::HTTP_2;
        self.activity.speaks(if http2 { WireProtocol::Http2 } else { WireProtocol::Http1 });
        let (services, streams) = (Arc::clone(&self.services), Arc::clone(&self.streams));
        // This runs in the task of the stream, which is watched for stalls.
        Box::pin(async move {
            let for_grpc = (services.is_grpc)(request.headers());
            let refused = |_: MemoryFull| no_memory(for_grpc);
            let mut answer = match streams.begin() {
                Err(full) => refused(full),
                Ok(open) => {
                    let version = request.version();
                    let body = |body| {
                        if http2 {
                            stream_bodies::count_request(body, &open)
                        } else {
                            chunked_bodies::body(version, body)
                        }
                    };
                    let answer = services.call(request.map(body)).await?;
                    stream_bodies::count_response(answer, open, http2).unwrap_or_else(refused)
                }
            };
            if last {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        })
    }
}

/// Returns the response to a request without memory. It has no body, which could wait for the client again.
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

/// Keeps the permit of a large response until the response was read or dropped.
fn hold_read_permit(mut response: Response) -> Response {
    match response.extensions_mut().remove::<Arc<LargeReadPermit>>() {
        None => response,
        Some(reading) => response.map(|body| Body::new(LargeBody { body, _reading: reading })),
    }
}

/// The body of a large response. gRPC encodes it when it is first polled.
struct LargeBody {
    body: Body,
    _reading: Arc<LargeReadPermit>,
}

impl hyper::body::Body for LargeBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        lifecycle::run_blocking(|| Pin::new(&mut self.body).poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Runs the tasks of HTTP/2 streams.
#[derive(Clone)]
struct StreamExecutor {
    lifecycle: Lifecycle,
    stall: Duration,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for StreamExecutor {
    fn execute(&self, task: F) {
        self.lifecycle.spawn_one("API stream", stream_bodies::run_watched(task, self.stall));
    }
}
