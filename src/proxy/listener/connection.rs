//! The life of a client connection: TLS if its port speaks it, then HTTP/1.1 or HTTP/2 to its end.
//!
//! Invariants: a connection that panics ends alone.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::connection_limits::{CountedConnection, WireProtocol};
use crate::lifecycle;
use crate::proxy::client::client_body::ClientBody;
use crate::proxy::client::client_socket::ClientSocket;
use crate::proxy::client::conn_state::{ConnStage, ConnState};
use crate::proxy::client::connections::ConnGuard;
use crate::proxy::client::handshake::{HandshakeAnswers, HandshakeFailed, SecuredClient, handshake};
use crate::proxy::client::preface;
use crate::proxy::client::transport::ClientTransport;
use crate::proxy::context::client::ClientContext;
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::http2::connection as http2;
use crate::proxy::limits::HEAD_BYTES_MAX;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::forward::forward;
use crate::proxy::request::raw_refusal;
use crate::traffic::Peer;

/// The memory of an open TLS connection: keys, and the buffers of rustls.
const TLS_BYTES: usize = 8 * 1024;

/// Begins a connection without TLS.
pub(crate) fn begin_plain(worker: &Rc<WorkerContext>, socket: TcpStream, peer: Peer) {
    let state = ConnState::new(ConnStage::Fresh, &worker.ticks);
    let place = worker.connections.enter(&state, &peer);
    let id = place.id();
    let client = Rc::new(ClientContext::new(peer, None, state));
    let counted = worker.counters.http.begin();
    let task = plain_connection(Rc::clone(worker), client, socket, (place, counted));
    worker.connections.can_cut(id, lifecycle::spawn_local(task));
}

/// Serves a connection in the protocol that its first bytes say.
async fn plain_connection(
    worker: Rc<WorkerContext>,
    client: Rc<ClientContext>,
    mut socket: TcpStream,
    (place, mut counted): (ConnGuard, CountedConnection),
) {
    let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    worker.connections.can_wake(place.id(), task);
    let first = preface::read(&mut socket).await;
    if preface::is_http2(&first) {
        counted.speaks(WireProtocol::Http2);
        // Boxed because it is large: connections of HTTP/1 stay small.
        Box::pin(http2::serve(worker, client, socket, first)).await;
    } else {
        // A connection that ends without a byte speaks nothing.
        if !first.is_empty() {
            counted.speaks(WireProtocol::Http1);
        }
        let io = ClientSocket::new(socket, first, Arc::clone(&client.state), worker.settings.memory.connection());
        http1(worker, client, io).await;
    }
}

/// Begins a connection with TLS.
pub(crate) fn begin_secure(worker: &Rc<WorkerContext>, socket: TcpStream, peer: Peer) {
    let state = ConnState::new(ConnStage::Handshake, &worker.ticks);
    let (place, shaking) = (worker.connections.enter(&state, &peer), worker.handshakes.enter(&state, &peer));
    let (id, shaking_id) = (place.id(), shaking.id());
    let counted = worker.counters.https.begin();
    let task = secure_connection(Rc::clone(worker), socket, (peer, state), (place, counted), shaking);
    let abort = lifecycle::spawn_local(task);
    worker.connections.can_cut(id, abort.clone());
    worker.handshakes.can_cut(shaking_id, abort);
}

/// Agrees on TLS with a client, then serves the connection in the protocol that was agreed on (ALPN). `shaking` is its place among
/// the handshakes.
async fn secure_connection(
    worker: Rc<WorkerContext>,
    socket: TcpStream,
    (peer, state): (Peer, Arc<ConnState>),
    (place, mut counted): (ConnGuard, CountedConnection),
    shaking: ConnGuard,
) {
    let memory = &worker.settings.memory;
    let _buffers = memory.take_always(TLS_BYTES);
    let plain_answer = || {
        let client = ClientContext::new(Peer { secure: false, ..peer.clone() }, None, Arc::clone(&state));
        raw_refusal::answer(&worker, &Rc::new(client), Refusal::PlainHttp)
    };
    let answers = HandshakeAnswers { allows_http2: |name: Option<&str>| allows_http2(&worker, name), plain_answer };
    // Boxed because its state is larger than what comes after it.
    let secured = Box::pin(handshake(socket, &worker.certificates, answers, memory.connection())).await;
    let SecuredClient { stream, identity, share } = match secured {
        Ok(Some(secured)) => secured,
        Ok(None) => return,
        Err(HandshakeFailed) => return counted.listener().handshake_failed(),
    };
    drop(shaking);
    let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    worker.connections.can_wake(place.id(), task);
    state.enter(ConnStage::Fresh);
    let tls = Some(Rc::new(identity));
    let client = Rc::new(ClientContext::new(peer, tls, state));
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        counted.speaks(WireProtocol::Http2);
        drop(share);
        Box::pin(http2::serve(Rc::clone(&worker), client, stream, Vec::new())).await;
    } else {
        counted.speaks(WireProtocol::Http1);
        let io = ClientSocket::new(stream, Vec::new(), Arc::clone(&client.state), share);
        http1(Rc::clone(&worker), client, io).await;
    }
}

/// Returns true unless a route of the host has HTTP/2 off.
fn allows_http2(worker: &WorkerContext, host: Option<&str>) -> bool {
    host.is_none_or(|host| worker.table.load().allows_http2(host))
}

async fn http1<T: ClientTransport>(worker: Rc<WorkerContext>, client: Rc<ClientContext>, io: ClientSocket<T>) {
    let state = Arc::clone(&client.state);
    let refusing = (Rc::clone(&worker), Rc::clone(&client));
    let service = service_fn(move |request: Request<Incoming>| {
        let (worker, client) = (Rc::clone(&worker), Rc::clone(&client));
        let mut request = request.map(ClientBody::Http1);
        // The future of an async fn would hold the request twice.
        async move { forward(&worker, &client, &mut request).await }
    });
    let mut builder = http1::Builder::new();
    // The sweep watches the time; see `conn_state`.
    builder.header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX).max_header_size(HEAD_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
    let mut is_ending = false;
    // A client that breaks the protocol was answered; nobody else needs the error.
    let _ = poll_fn(|cx| {
        loop {
            let polled = connection.as_mut().poll(cx);
            if polled.is_pending()
                && let Some(status) = state.wanted_refusal()
            {
                let refusal = match status {
                    StatusCode::BAD_REQUEST => Refusal::BadRequest,
                    StatusCode::SERVICE_UNAVAILABLE => Refusal::NoMemory,
                    _ => Refusal::HeadTooLarge,
                };
                state.pass_refusal(raw_refusal::answer(&refusing.0, &refusing.1, refusal));
                continue;
            }
            // Only now, because hyper closes a connection at once from which it has read nothing.
            if polled.is_ready() || !state.must_end() || std::mem::replace(&mut is_ending, true) {
                return polled;
            }
            connection.as_mut().graceful_shutdown();
        }
    })
    .await;
}
