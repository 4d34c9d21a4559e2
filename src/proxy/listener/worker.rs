//! The life of a worker: a thread, its runtime, its listener, its connections and its sweep.
//!
//! Invariants: a connection that panics ends alone; after the stop no connection lives longer than the grace.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{oneshot, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::connect::{AddressResolver, serial};
use crate::connection_limits::ConnectionCounts;
use crate::lifecycle::{self, Heartbeat};
use crate::maintenance_pages::MaintenancePages;
use crate::proxy::client::connections::ClientConnections;
use crate::proxy::context::counters::WorkerCounters;
use crate::proxy::context::worker::{RandomBits, ReloadableView, TableView, WorkerContext};
#[cfg(feature = "http3")]
use crate::proxy::http3::{Http3Listener, Http3Start};
use crate::proxy::listener::accept::{Security, WorkerListener, accept};
use crate::proxy::listener::socket::WorkerSocket;
use crate::proxy::listener::stop::{self, StopPhase};
use crate::proxy::settings::{ProxySettings, ReloadableSettings};
use crate::proxy::ticks::Ticks;
use crate::proxy::upstream::upstreams::Upstreams;
use crate::reports::Reports;
use crate::traffic::{RetryBudget, RoutingTable, WorkerId};

/// All that a worker starts with.
pub(crate) struct WorkerStart {
    pub(crate) id: WorkerId,
    pub(crate) listener: WorkerSocket,
    /// The listener for clients that speak TLS.
    pub(crate) secure_listener: Option<WorkerSocket>,
    /// The start of HTTP/3.
    #[cfg(feature = "http3")]
    pub(crate) http3: Option<Http3Start>,
    pub(crate) settings: Arc<ProxySettings>,
    pub(crate) reloadable: Arc<ArcSwap<ReloadableSettings>>,
    pub(crate) addresses: AddressResolver,
    pub(crate) table: Arc<ArcSwap<RoutingTable>>,
    pub(crate) reports: Reports,
    pub(crate) maintenance_pages: MaintenancePages,
    pub(crate) connections: Arc<ConnectionCounts>,
    pub(crate) phases: watch::Receiver<StopPhase>,
    /// Dropped once the worker is drained.
    pub(crate) draining: oneshot::Sender<()>,
    /// Gets a message once the worker accepts connections, or the reason why it cannot.
    pub(crate) ready: mpsc::Sender<io::Result<()>>,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) counters: Arc<WorkerCounters>,
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
    let secure_listener = start.secure_listener.map(|socket| WorkerListener::open(socket, Security::Tls)).transpose();
    let (listener, secure_listener) = match (WorkerListener::open(start.listener, Security::Plain), secure_listener) {
        (Ok(listener), Ok(secure)) => (listener, secure),
        (Err(error), _) | (_, Err(error)) => return drop(start.ready.send(Err(error))),
    };
    #[cfg(feature = "http3")]
    let http3 = match start.http3.map(Http3Listener::open).transpose() {
        Ok(http3) => http3,
        Err(error) => return drop(start.ready.send(Err(error))),
    };
    let ticks = Ticks::default();
    let worker = Rc::new(WorkerContext {
        id: start.id,
        upstreams: Upstreams::new(&start.settings, start.addresses, &ticks),
        certificates: start.settings.certificates.clone(),
        requests: start.settings.requests.worker(start.id.index),
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
        long_streams: Rc::default(),
        counters: start.counters,
        is_stopping: Cell::new(false),
    });
    let (sweeping, swept) = oneshot::channel::<()>();
    let sweeper = sweep(Rc::clone(&worker), start.heartbeat);
    lifecycle::spawn_local(futures_util::FutureExt::map(sweeper, |()| drop(sweeping)));
    lifecycle::spawn_local(stop::drain(Rc::clone(&worker), start.phases.clone(), start.draining));
    let _ = start.ready.send(Ok(()));
    drop(start.ready);
    let accept_secure = async {
        if let Some(listener) = secure_listener {
            accept(&worker, listener, start.phases.clone()).await;
        }
    };
    let closing = CancellationToken::new();
    let accept_http3 = async {
        #[cfg(feature = "http3")]
        if let Some(listener) = &http3 {
            listener.accept(&worker, &closing).await;
        }
    };
    let accept_plain = async {
        let grace = accept(&worker, listener, start.phases.clone()).await;
        closing.cancel();
        grace
    };
    let grace = tokio::select! {
        (grace, (), ()) = futures_util::future::join3(accept_plain, accept_secure, accept_http3) => grace,
        // Without the sweep no timeout of a connection ends.
        _ = swept => {
            tracing::error!("the sweep of a proxy worker ended");
            Duration::ZERO
        }
    };
    stop::close(&worker, grace).await;
    #[cfg(feature = "http3")]
    if let Some(listener) = http3 {
        listener.close().await;
    }
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
        worker.reloadable.refresh();
        worker.requests.tick();
        worker.upstreams.follow_reload();
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
