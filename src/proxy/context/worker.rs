//! The state that all requests of one worker share.

use std::cell::{Cell, Ref, RefCell};
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};

use crate::certificates::Certificates;
use crate::maintenance_pages::MaintenancePages;
use crate::proxy::client::connections::ClientConnections;
use crate::proxy::context::counters::WorkerCounters;
use crate::proxy::context::long_streams::LongStreams;
use crate::proxy::settings::{ProxySettings, ReloadableSettings};
use crate::proxy::ticks::Ticks;
use crate::proxy::upstream::upstreams::Upstreams;
use crate::random;
use crate::reports::Reports;
use crate::request_log::WorkerRequests;
use crate::traffic::{RetryBudget, RoutingTable, WorkerId};

/// The state that all requests of one worker share.
pub(crate) struct WorkerContext {
    pub(crate) id: WorkerId,
    pub(crate) settings: Arc<ProxySettings>,
    pub(crate) reloadable: ReloadableView,
    pub(crate) upstreams: Upstreams,
    pub(crate) connections: Rc<ClientConnections>,
    /// Those of them whose TLS handshake is under way.
    pub(crate) handshakes: Rc<ClientConnections>,
    pub(crate) certificates: Certificates,
    pub(crate) ticks: Ticks,
    pub(crate) retry_budget: RefCell<RetryBudget>,
    pub(crate) reports: Reports,
    /// Those who want to know of the requests that end.
    pub(crate) requests: WorkerRequests,
    pub(crate) maintenance_pages: MaintenancePages,
    pub(crate) table: TableView,
    pub(crate) random: RandomBits,
    pub(crate) long_streams: Rc<LongStreams>,
    pub(crate) counters: Arc<WorkerCounters>,
    /// True once the server was told to stop: connections end with their next response.
    pub(crate) is_stopping: Cell<bool>,
}

/// A worker's view of the settings that a reload replaces. The sweep of the worker looks for new ones, so that requests
/// do not.
pub(crate) struct ReloadableView {
    shared: Arc<ArcSwap<ReloadableSettings>>,
    current: RefCell<Arc<ReloadableSettings>>,
}

impl ReloadableView {
    /// Creates the view of a worker.
    pub(crate) fn new(shared: &Arc<ArcSwap<ReloadableSettings>>) -> Self {
        Self { shared: Arc::clone(shared), current: RefCell::new(shared.load_full()) }
    }

    /// Returns the settings as they were at the last sweep. They must not be held over an await.
    pub(crate) fn get(&self) -> Ref<'_, ReloadableSettings> {
        Ref::map(self.current.borrow(), |settings| &**settings)
    }

    /// Takes over new settings.
    pub(crate) fn refresh(&self) {
        let new = self.shared.load();
        let mut current = self.current.borrow_mut();
        if !Arc::ptr_eq(&new, &current) {
            *current = Arc::clone(&new);
        }
    }
}

/// A worker's view of the routing table. Requests share one snapshot through an `Rc`: they neither hold a guard of
/// `arc-swap` over an await nor write to a reference count that other workers write to.
pub(crate) struct TableView(RefCell<(TableCache, Rc<TableSnapshot>)>);

type TableCache = Cache<Arc<ArcSwap<RoutingTable>>, Arc<RoutingTable>>;

/// The routing table as it was when a request arrived.
pub(crate) struct TableSnapshot(Arc<RoutingTable>);

impl Deref for TableSnapshot {
    type Target = RoutingTable;

    fn deref(&self) -> &RoutingTable {
        &self.0
    }
}

impl TableView {
    /// Creates the view of a worker.
    pub(crate) fn new(table: &Arc<ArcSwap<RoutingTable>>) -> Self {
        let snapshot = Rc::new(TableSnapshot(table.load_full()));
        Self(RefCell::new((Cache::new(Arc::clone(table)), snapshot)))
    }

    /// Returns the current table, and lets go of an older one.
    pub(crate) fn load(&self) -> Rc<TableSnapshot> {
        let (cache, snapshot) = &mut *self.0.borrow_mut();
        let now = cache.load();
        if !Arc::ptr_eq(now, &snapshot.0) {
            *snapshot = Rc::new(TableSnapshot(Arc::clone(now)));
        }
        Rc::clone(snapshot)
    }
}

/// A source of random bits for the balancer: xorshift with a random seed. No secret depends on it.
pub(crate) struct RandomBits(Cell<u64>);

impl RandomBits {
    /// Creates a source with a random seed.
    pub(crate) fn new() -> Self {
        Self(Cell::new(random::seed() | 1))
    }

    /// Returns the next 64 bits.
    pub(crate) fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        x
    }
}
