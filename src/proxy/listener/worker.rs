//! The life of a worker: a thread, its runtime, its listener, its connections and its sweep.
//!
//! Invariants: a connection that panics ends alone; after the stop no connection lives longer than the grace.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::connect::{AddressResolver, serial};
use crate::connection_limits::{ConnectionCounts, ConnectionRefusal};
use crate::lifecycle::{self, Heartbeat};
use crate::maintenance_pages::MaintenancePages;
use crate::proxy::client::client_body::ClientBody;
use crate::proxy::client::client_socket::ClientSocket;
use crate::proxy::client::conn_state::{ConnStage, ConnState};
use crate::proxy::client::connections::{ClientConnections, ConnGuard};
use crate::proxy::client::handshake::{SecuredClient, handshake};
use crate::proxy::client::transport::ClientTransport;
use crate::proxy::client::{plain_refusal, preface};
use crate::proxy::context::client::ClientContext;
use crate::proxy::context::worker::{RandomBits, ReloadableView, TableView, WorkerContext};
use crate::proxy::http2::connection as http2;
use crate::proxy::limits::HEAD_BYTES_MAX;
use crate::proxy::request::forward::forward;
use crate::proxy::settings::{ProxySettings, ReloadableSettings};
use crate::proxy::ticks::Ticks;
use crate::proxy::upstream::login_conns::LoginConns;
use crate::proxy::upstream::upstreams::Upstreams;
use crate::reports::Reports;
use crate::sockets::{DescriptorShare, PortListener};
use crate::traffic::{Peer, RetryBudget, RoutingTable, WorkerId};

/// The memory of an open TLS connection: keys, and the buffers of rustls.
const TLS_BYTES: usize = 8 * 1024;

/// All that a worker starts with.
pub(crate) struct WorkerStart {
    pub(crate) id: WorkerId,
    pub(crate) listener: StdListener,
    /// The listener for clients that speak TLS.
    pub(crate) secure_listener: Option<StdListener>,
    pub(crate) settings: Arc<ProxySettings>,
    pub(crate) reloadable: Arc<ArcSwap<ReloadableSettings>>,
    pub(crate) addresses: AddressResolver,
    pub(crate) table: Arc<ArcSwap<RoutingTable>>,
    pub(crate) reports: Reports,
    pub(crate) maintenance_pages: MaintenancePages,
    pub(crate) connections: Arc<ConnectionCounts>,
    pub(crate) stop: CancellationToken,
    pub(crate) grace: Arc<ArcSwap<Duration>>,
    /// Gets a message once the worker accepts connections, or the reason why it cannot.
    pub(crate) ready: mpsc::Sender<io::Result<()>>,
    pub(crate) heartbeat: Heartbeat,
}

/// Runs a worker to its end, on a thread of its own.
pub(crate) fn run(start: WorkerStart) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        // Nobody waits for the message if the start was given up.
        Err(error) => return drop(start.ready.send(Err(error))),
    };
    runtime.block_on(serve(start));
}

async fn serve(start: WorkerStart) {
    let secure_listener = start.secure_listener.map(TcpListener::from_std).transpose();
    let (listener, secure_listener) = match (TcpListener::from_std(start.listener), secure_listener) {
        (Ok(listener), Ok(secure)) => (listener, secure),
        (Err(error), _) | (_, Err(error)) => return drop(start.ready.send(Err(error))),
    };
    let ticks = Ticks::default();
    let worker = Rc::new(WorkerContext {
        id: start.id,
        upstreams: Upstreams::new(&start.settings, start.addresses, &ticks),
        certificates: start.settings.certificates.clone(),
        settings: start.settings,
        reloadable: ReloadableView::new(&start.reloadable),
        connections: ClientConnections::new(start.connections),
        handshakes: ClientConnections::new(Arc::default()),
        ticks,
        retry_budget: RefCell::new(RetryBudget::default()),
        reports: start.reports,
        maintenance_pages: start.maintenance_pages,
        table: TableView::new(&start.table),
        random: RandomBits::new(),
    });
    let (sweeping, swept) = oneshot::channel::<()>();
    let sweeper = sweep(Rc::clone(&worker), start.heartbeat);
    lifecycle::spawn_local(async move {
        sweeper.await;
        drop(sweeping);
    });
    let _ = start.ready.send(Ok(()));
    drop(start.ready);
    let accept_secure = async {
        if let Some(listener) = secure_listener {
            accept(&worker, listener, Security::Tls, &start.stop).await;
        }
    };
    tokio::select! {
        ((), ()) = futures_util::future::join(accept(&worker, listener, Security::Plain, &start.stop), accept_secure) => {}
        // Without the sweep no timeout of a connection ends.
        _ = swept => tracing::error!("the sweep of a proxy worker ended"),
    }
    worker.connections.finish_all();
    let _ = tokio::time::timeout(**start.grace.load(), worker.connections.emptied()).await;
    worker.connections.cut_all();
    // The runtime drops cut tasks on its next turn.
    let _ = tokio::time::timeout(Duration::from_secs(1), worker.connections.emptied()).await;
}

/// The security of the connections of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Security {
    Plain,
    Tls,
}

async fn accept(worker: &Rc<WorkerContext>, listener: TcpListener, security: Security, stop: &CancellationToken) {
    let mut port = PortListener::new(listener, "proxy");
    while let Some((socket, peer)) = stop.run_until_cancelled(port.accept()).await {
        begin(worker, &mut port, security, socket, peer);
    }
    // Connections that the kernel has accepted would be reset with the listener.
    while let Some((socket, peer)) = futures_util::FutureExt::now_or_never(port.accept()) {
        begin(worker, &mut port, security, socket, peer);
    }
}

fn begin(
    worker: &Rc<WorkerContext>,
    port: &mut PortListener,
    security: Security,
    socket: TcpStream,
    address: SocketAddr,
) {
    let mut peer = Peer::new(address.ip(), &worker.reloadable.get().trusted_proxies);
    peer.secure = security == Security::Tls;
    if let Err(full) = make_room(worker, &peer, &socket) {
        port.note_refused(&full);
        // A client that expects TLS could not read an answer.
        if security == Security::Plain {
            plain_refusal::refuse_connection(&socket);
        }
        return;
    }
    let _ = socket.set_nodelay(true);
    match security {
        Security::Plain => begin_plain(worker, socket, peer),
        Security::Tls => begin_secure(worker, socket, peer),
    }
}

fn make_room(worker: &WorkerContext, peer: &Peer, socket: &TcpStream) -> Result<(), ConnectionRefusal> {
    let now = worker.ticks.now();
    if DescriptorShare::Proxy.is_used_up(socket, worker.connections.total()) {
        return Err(ConnectionRefusal::Files);
    }
    if peer.secure {
        worker.handshakes.make_room_for(peer, ProxySettings::HANDSHAKE_LIMITS, now)?;
    }
    worker.connections.make_room_for(peer, worker.reloadable.get().connection_limits(), now)
}

fn begin_plain(worker: &Rc<WorkerContext>, socket: TcpStream, peer: Peer) {
    let state = ConnState::new(ConnStage::Fresh, &worker.ticks);
    let place = worker.connections.enter(&state, &peer);
    let id = place.id();
    let client = Rc::new(ClientContext { peer, tls: None, state, logins: LoginConns::default(), carrier: None });
    let task = plain_connection(Rc::clone(worker), client, socket, place);
    worker.connections.can_cut(id, lifecycle::spawn_local(task));
}

/// Serves a connection in the protocol that its first bytes say.
async fn plain_connection(
    worker: Rc<WorkerContext>,
    client: Rc<ClientContext>,
    mut socket: TcpStream,
    place: ConnGuard,
) {
    let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    worker.connections.can_wake(place.id(), task);
    let Some(first) = preface::read(&mut socket, &client.state).await else { return };
    if preface::is_http2(&first) {
        // Boxed because it is large: connections of HTTP/1 stay small.
        Box::pin(http2::serve(worker, client, socket, first)).await;
    } else {
        let io = ClientSocket::new(socket, first, Arc::clone(&client.state), worker.settings.memory.connection());
        http1(worker, client, io).await;
    }
}

fn begin_secure(worker: &Rc<WorkerContext>, socket: TcpStream, peer: Peer) {
    let state = ConnState::new(ConnStage::Handshake, &worker.ticks);
    let (place, shaking) = (worker.connections.enter(&state, &peer), worker.handshakes.enter(&state, &peer));
    let (id, shaking_id) = (place.id(), shaking.id());
    let task = secure_connection(Rc::clone(worker), socket, (peer, state), place, shaking);
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
    place: ConnGuard,
    shaking: ConnGuard,
) {
    let memory = &worker.settings.memory;
    let _buffers = memory.take_always(TLS_BYTES);
    // Boxed because its state is larger than what comes after it.
    let secured =
        Box::pin(handshake(socket, &worker.certificates, |name| allows_http2(&worker, name), memory.connection()))
            .await;
    let Some(SecuredClient { stream, identity, share }) = secured else { return };
    drop(shaking);
    let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    worker.connections.can_wake(place.id(), task);
    state.enter(ConnStage::Fresh);
    let tls = Some(Rc::new(identity));
    let client = Rc::new(ClientContext { peer, tls, state, logins: LoginConns::default(), carrier: None });
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        drop(share);
        Box::pin(http2::serve(Rc::clone(&worker), client, stream, Vec::new())).await;
    } else {
        let io = ClientSocket::new(stream, Vec::new(), Arc::clone(&client.state), share);
        http1(Rc::clone(&worker), client, io).await;
    }
}

/// Returns true unless the route of the host, for its oldest instance, is not for HTTP/2.
fn allows_http2(worker: &WorkerContext, host: Option<&str>) -> bool {
    let table = worker.table.load();
    let pool = host.and_then(|host| table.find(host, "/"));
    pool.and_then(|pool| pool.members().first()).is_none_or(|oldest| oldest.options().http2)
}

async fn http1<T: ClientTransport>(worker: Rc<WorkerContext>, client: Rc<ClientContext>, io: ClientSocket<T>) {
    let state = Arc::clone(&client.state);
    let service = service_fn(move |request: Request<Incoming>| {
        forward(Rc::clone(&worker), Rc::clone(&client), request.map(ClientBody::Http1))
    });
    let mut builder = http1::Builder::new();
    // The sweep watches the time; see `conn_state`.
    builder.header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX).max_header_size(HEAD_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service).with_upgrades());
    let mut is_ending = false;
    // hyper has answered a client that breaks the protocol; nobody else needs the error.
    let _ = poll_fn(|cx| {
        loop {
            if state.finishes() && !std::mem::replace(&mut is_ending, true) {
                connection.as_mut().graceful_shutdown();
            }
            let polled = connection.as_mut().poll(cx);
            // The connection may have learned in this poll that it must end.
            if polled.is_ready() || is_ending || !state.finishes() {
                return polled;
            }
        }
    })
    .await;
}

/// Advances the clock of the worker and wakes the connections that are due. Once a second it closes all that stood still
/// for too long.
async fn sweep(worker: Rc<WorkerContext>, heartbeat: Heartbeat) {
    let began = clock::now();
    let mut step = tokio::time::interval(Ticks::STEP);
    step.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let second = Ticks::steps(Duration::from_secs(1));
    let mut swept = 0;
    loop {
        step.tick().await;
        let now = worker.ticks.set(clock::now().since(began).std());
        heartbeat.beat(clock::now().0);
        worker.connections.wake_due(now);
        if worker.reloadable.refresh() {
            worker.upstreams.close_idle();
        }
        worker.connections.make_room(worker.reloadable.get().connection_limits(), now);
        worker.upstreams.make_way();
        if now - swept < second {
            continue;
        }
        swept = now;
        clock::catch_up();
        worker.connections.sweep(&worker.settings);
        worker.upstreams.sweep();
        serial::forget_old();
        // An old table is let go even if no request arrives.
        worker.table.load();
    }
}
