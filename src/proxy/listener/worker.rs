//! One worker: a thread, its runtime, its listener, and what its requests share.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::ops::Deref;
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::time::Duration;

use arc_swap::{ArcSwap, Cache};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::connect::{CachedResolver, serial};
use crate::connection_limits::{ConnectionCounts, ConnectionRefusal};
use crate::lifecycle::{self, Heartbeat};
use crate::maintenance_pages::MaintenancePages;
use crate::proxy::Settings;
use crate::proxy::client::client_io::Wire;
use crate::proxy::client::conn_state::Phase;
use crate::proxy::client::conn_state::Stage;
use crate::proxy::client::conn_state::Ticks;
use crate::proxy::client::connections::Connections;
use crate::proxy::client::connections::Place;
use crate::proxy::request::forward::Client;
use crate::proxy::request::forward::forward;
use crate::proxy::response::pages;
use crate::proxy::upstream::idle_pools::Pools;
use crate::proxy::upstream::logins::Logins;
use crate::random;
use crate::reports::Reports;
use crate::sockets::{DescriptorShare, PortListener};
use crate::traffic::{self, Peer, RetryBudget, RoutingTable};

/// What a worker starts with.
pub(crate) struct Start {
    pub(crate) id: traffic::WorkerId,
    pub(crate) listener: StdListener,
    pub(crate) settings: Arc<Settings>,
    pub(crate) table: Arc<ArcSwap<RoutingTable>>,
    pub(crate) reports: Reports,
    pub(crate) maintenance_pages: MaintenancePages,
    pub(crate) connections: Arc<ConnectionCounts>,
    pub(crate) stop: CancellationToken,
    pub(crate) grace: Arc<ArcSwap<Duration>>,
    /// Told once the worker accepts, or why it cannot.
    pub(crate) ready: mpsc::Sender<io::Result<()>>,
    pub(crate) heartbeat: Heartbeat,
}

/// What the requests of one worker share.
pub(crate) struct Worker {
    pub(crate) id: traffic::WorkerId,
    pub(crate) settings: Arc<Settings>,
    pub(crate) pools: Pools,
    pub(crate) resolver: CachedResolver,
    pub(crate) connections: Rc<Connections>,
    pub(crate) ticks: Ticks,
    pub(crate) budget: RefCell<RetryBudget>,
    pub(crate) reports: Reports,
    pub(crate) maintenance_pages: MaintenancePages,
    chance: Cell<u64>,
    view: RefCell<View>,
    stop: CancellationToken,
}

/// The table as the worker last saw it. Requests share it through an `Rc`: they neither hold a guard of `arc-swap`
/// over an await nor write to a reference count that other workers write to.
struct View {
    cache: Cache<Arc<ArcSwap<RoutingTable>>, Arc<RoutingTable>>,
    seen: Rc<Seen>,
}

/// A table as it was when a request came.
pub(crate) struct Seen(Arc<RoutingTable>);

impl Deref for Seen {
    type Target = RoutingTable;

    fn deref(&self) -> &RoutingTable {
        &self.0
    }
}

/// Opens a worker's socket. `first` finds out whether somebody else has the port: with `SO_REUSEPORT` alone
/// two servers of one user would share it without a word.
pub(crate) fn listen(address: SocketAddr, first: bool) -> io::Result<StdListener> {
    use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
    if first && address.port() != 0 {
        let probe = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        probe.set_reuse_address(true)?;
        probe.bind(&address.into())?;
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // Connections inherit it: a client that is gone without a word is noticed however long its answer is silent.
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_TRIES))?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// The system asks a silent client whether it is still there, and gives it up after two minutes.
const KEEPALIVE_AFTER: Duration = Duration::from_mins(1);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 4;

/// The worker's life, on a thread of its own.
pub(crate) fn run(start: Start) {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    let runtime = match runtime {
        Ok(runtime) => runtime,
        // Nobody waits for it any more where the start has been given up.
        Err(error) => return drop(start.ready.send(Err(error))),
    };
    runtime.block_on(serve(start));
}

async fn serve(start: Start) {
    let listener = match TcpListener::from_std(start.listener) {
        Ok(listener) => listener,
        Err(error) => return drop(start.ready.send(Err(error))),
    };
    let cache = Cache::new(Arc::clone(&start.table));
    let seen = Rc::new(Seen(start.table.load_full()));
    let worker = Rc::new(Worker {
        id: start.id,
        pools: Pools::new(&start.settings),
        resolver: CachedResolver::new(start.settings.addresses()),
        settings: start.settings,
        connections: Connections::new(start.connections),
        ticks: Ticks::default(),
        budget: RefCell::default(),
        reports: start.reports,
        maintenance_pages: start.maintenance_pages,
        chance: Cell::new(random::seed() | 1),
        view: RefCell::new(View { cache, seen }),
        stop: start.stop.clone(),
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
        () = accept(&worker, listener) => {}
        // Without it no time passes for the connections.
        _ = swept => tracing::error!("the sweep of a proxy worker ended"),
    }
    worker.connections.finish_all();
    let _ = tokio::time::timeout(**start.grace.load(), worker.connections.emptied()).await;
    worker.connections.cut_all();
    // Cut tasks are dropped by the runtime on its next turn.
    let _ = tokio::time::timeout(Duration::from_secs(1), worker.connections.emptied()).await;
}

async fn accept(worker: &Rc<Worker>, listener: TcpListener) {
    let mut port = PortListener::new(listener, "proxy");
    while let Some((socket, peer)) = worker.stop.run_until_cancelled(port.accept()).await {
        begin(worker, &mut port, socket, peer);
    }
    // What the kernel has already accepted would be reset with the listener.
    while let Some((socket, peer)) = futures_util::FutureExt::now_or_never(port.accept()) {
        begin(worker, &mut port, socket, peer);
    }
}

fn begin(worker: &Rc<Worker>, port: &mut PortListener, socket: TcpStream, peer: SocketAddr) {
    let arrival = Peer::new(peer.ip(), &worker.settings.trusted_proxies);
    let connections = &worker.connections;
    let room = if DescriptorShare::Proxy.is_used_up(&socket, connections.total()) {
        Err(ConnectionRefusal::Files)
    } else {
        connections.make_room_for(&arrival, &worker.settings, worker.ticks.now())
    };
    if let Err(full) = room {
        port.note_refused(&full);
        return pages::turn_away(&socket);
    }
    let _ = socket.set_nodelay(true);
    let phase = Phase::new(Stage::Fresh, &worker.ticks);
    let place = worker.connections.enter(&phase, &arrival);
    let id = place.id();
    let client = Rc::new(Client { arrival, phase, logins: Logins::default() });
    let wire = Wire::new(socket, Arc::clone(&client.phase), worker.settings.memory.connection());
    let task = connection(Rc::clone(worker), client, wire, place);
    worker.connections.can_cut(id, lifecycle::spawn_local(task));
}

async fn connection(worker: Rc<Worker>, client: Rc<Client>, wire: Wire, place: Place) {
    let (phase, connections) = (Arc::clone(&client.phase), Rc::clone(&worker.connections));
    let service = service_fn(move |request| forward(Rc::clone(&worker), Rc::clone(&client), request));
    let mut builder = http1::Builder::new();
    // The sweep keeps the time; see `phase`.
    builder.header_read_timeout(None).max_buf_size(HEAD_BYTES_MAX).max_header_size(HEAD_BYTES_MAX);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(wire), service).with_upgrades());
    poll_fn(|cx| {
        connections.can_wake(place.id(), cx.waker().clone());
        Poll::Ready(())
    })
    .await;
    let mut told = false;
    // A client that breaks the protocol has been answered by hyper; there is nobody to tell.
    let _ = poll_fn(|cx| {
        loop {
            if phase.finishes() && !std::mem::replace(&mut told, true) {
                connection.as_mut().graceful_shutdown();
            }
            let polled = connection.as_mut().poll(cx);
            // It may have learned just now that it is to end.
            if polled.is_ready() || told || !phase.finishes() {
                return polled;
            }
        }
    })
    .await;
}

/// A longer head gets 431.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// A head of more lines gets 431 too: hyper reads so many without an allocation.
pub(crate) const FIELDS_MAX: usize = 100;

/// Time goes on; who is due is woken. Once a second what has stood still for too long goes.
async fn sweep(worker: Rc<Worker>, heartbeat: Heartbeat) {
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
        worker.connections.make_room(&worker.settings, now);
        worker.pools.make_way();
        if now - swept < second {
            continue;
        }
        swept = now;
        clock::catch_up();
        worker.connections.sweep(&worker.settings);
        worker.pools.sweep(now);
        worker.resolver.sweep();
        serial::forget_old();
        // Lets go of an old table even if no request comes.
        worker.table();
    }
}

impl Worker {
    /// The table as it is now.
    pub(crate) fn table(&self) -> Rc<Seen> {
        let view = &mut *self.view.borrow_mut();
        let now = view.cache.load();
        if !Arc::ptr_eq(now, &view.seen.0) {
            view.seen = Rc::new(Seen(Arc::clone(now)));
        }
        Rc::clone(&view.seen)
    }

    /// 64 bits to draw lots with: xorshift, seeded at the start. No secret depends on it.
    pub(crate) fn chance(&self) -> u64 {
        let mut x = self.chance.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.chance.set(x);
        x
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_asked_whether_their_client_is_still_there() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = socket2::SockRef::from(&accepted);
        assert_eq!((socket.keepalive().unwrap(), socket.tcp_keepalive_time().unwrap()), (true, KEEPALIVE_AFTER));
    }
}
