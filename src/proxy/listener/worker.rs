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

/// All that a worker starts with.
pub(crate) struct WorkerStart {
    pub(crate) id: WorkerId,
    pub(crate) listener: StdListener,
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
    let listener = match TcpListener::from_std(start.listener) {
        Ok(listener) => listener,
        Err(error) => return drop(start.ready.send(Err(error))),
    };
    let ticks = Ticks::default();
    let worker = Rc::new(WorkerContext {
        id: start.id,
        upstreams: Upstreams::new(&start.settings, start.addresses, &ticks),
        settings: start.settings,
        reloadable: ReloadableView::new(&start.reloadable),
        connections: ClientConnections::new(start.connections),
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
    tokio::select! {
        () = accept(&worker, listener, &start.stop) => {}
        // Without the sweep no timeout of a connection ends.
        _ = swept => tracing::error!("the sweep of a proxy worker ended"),
    }
    worker.connections.finish_all();
    let _ = tokio::time::timeout(**start.grace.load(), worker.connections.emptied()).await;
    worker.connections.cut_all();
    // The runtime drops cut tasks on its next turn.
    let _ = tokio::time::timeout(Duration::from_secs(1), worker.connections.emptied()).await;
}

async fn accept(worker: &Rc<WorkerContext>, listener: TcpListener, stop: &CancellationToken) {
    let mut port = PortListener::new(listener, "proxy");
    while let Some((socket, peer)) = stop.run_until_cancelled(port.accept()).await {
        begin(worker, &mut port, socket, peer);
    }
    // Connections that the kernel has accepted would be reset with the listener.
    while let Some((socket, peer)) = futures_util::FutureExt::now_or_never(port.accept()) {
        begin(worker, &mut port, socket, peer);
    }
}

fn begin(worker: &Rc<WorkerContext>, port: &mut PortListener, socket: TcpStream, address: SocketAddr) {
    let peer = Peer::new(address.ip(), &worker.reloadable.get().trusted_proxies);
    let connections = &worker.connections;
    let room = if DescriptorShare::Proxy.is_used_up(&socket, connections.total()) {
        Err(ConnectionRefusal::Files)
    } else {
        connections.make_room_for(&peer, worker.reloadable.get().connection_limits(), worker.ticks.now())
    };
    if let Err(full) = room {
        port.note_refused(&full);
        return plain_refusal::refuse_connection(&socket);
    }
    let _ = socket.set_nodelay(true);
    let state = ConnState::new(ConnStage::Fresh, &worker.ticks);
    let place = worker.connections.enter(&state, &peer);
    let id = place.id();
    let client = Rc::new(ClientContext { peer, state, logins: LoginConns::default(), carrier: None });
    let task = connection(Rc::clone(worker), client, socket, place);
    worker.connections.can_cut(id, lifecycle::spawn_local(task));
}

/// Serves a connection in the protocol that its first bytes say.
async fn connection(worker: Rc<WorkerContext>, client: Rc<ClientContext>, mut socket: TcpStream, place: ConnGuard) {
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

async fn http1(worker: Rc<WorkerContext>, client: Rc<ClientContext>, io: ClientSocket) {
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
