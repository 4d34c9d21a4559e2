//! The connections and tunnels of one worker: how many there are, and how each is told to end.
//!
//! What must hold: each entry leaves the list when its task ends, however it ends; the count over all workers
//! never passes the configured maximum for long (two workers may accept at the same moment); at the maximum, what is idle
//! makes way for what is new, and nobody who is being answered does.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::connection_limits::{ConnectionCounts, ConnectionRefusal, ConnectionTable, Evictable, EvictionRank};
use crate::domain::Origin;
use crate::proxy::client::conn_state::ConnState;
use crate::proxy::settings::ProxySettings;
use crate::traffic::Peer;

/// See the module.
#[derive(Debug)]
pub(crate) struct ClientConnections {
    open: RefCell<ConnectionTable<ListedConn>>,
    totals: Arc<ConnectionCounts>,
    emptied: Notify,
    // No connection wants to be woken before this tick.
    earliest: Cell<u32>,
}

#[derive(Debug)]
struct ListedConn {
    state: Arc<ConnState>,
    // Both known once its task has begun.
    waker: Option<Waker>,
    abort: Option<AbortHandle>,
}

/// A task's place in the list.
#[derive(Debug)]
pub(crate) struct ConnGuard {
    list: Rc<ClientConnections>,
    id: u64,
}

/// `None` for a trusted proxy, which speaks for many.
fn origin(peer: &Peer) -> Option<Origin> {
    (!peer.trusted).then(|| Origin::of(peer.address))
}

impl ClientConnections {
    pub(crate) fn new(totals: Arc<ConnectionCounts>) -> Rc<Self> {
        Rc::new(Self { open: RefCell::default(), totals, emptied: Notify::new(), earliest: Cell::new(u32::MAX) })
    }

    /// Makes room for a connection: others make way for it if they must.
    ///
    /// # Errors
    /// [`ConnectionRefusal`] when none can.
    pub(crate) fn make_room_for(
        &self,
        peer: &Peer,
        settings: &ProxySettings,
        now: u32,
    ) -> Result<(), ConnectionRefusal> {
        self.open.borrow_mut().make_room_for(origin(peer), &self.totals, settings.connection_limits(), now)
    }

    /// While the house is full, those that can make way do so: what is accepted elsewhere finds room.
    pub(crate) fn make_room(&self, settings: &ProxySettings, now: u32) {
        self.open.borrow_mut().make_room(&self.totals, settings.connection_limits(), now);
    }

    /// The number of connections that are open, over all workers.
    pub(crate) fn total(&self) -> usize {
        self.totals.open()
    }

    /// A place for a task that is about to start.
    pub(crate) fn enter(self: &Rc<Self>, state: &Arc<ConnState>, peer: &Peer) -> ConnGuard {
        let entry = ListedConn { state: Arc::clone(state), waker: None, abort: None };
        let id = self.open.borrow_mut().enter(origin(peer), &self.totals, entry);
        ConnGuard { list: Rc::clone(self), id }
    }

    /// Lets the task in `place` be cut.
    pub(crate) fn can_cut(&self, id: u64, abort: AbortHandle) {
        if let Some(entry) = self.open.borrow_mut().get_mut(id) {
            entry.abort = Some(abort);
        }
    }

    /// Lets the task in `place` be woken. Its waker stays the same as long as it lives.
    pub(crate) fn can_wake(&self, id: u64, waker: Waker) {
        if let Some(entry) = self.open.borrow_mut().get_mut(id) {
            entry.waker = Some(waker);
        }
    }

    /// Some connection wants to be woken at `due`.
    pub(crate) fn note_due(&self, due: u32) {
        self.earliest.set(self.earliest.get().min(due));
    }

    /// Wakes those that are due. Looks at them only when one can be.
    pub(crate) fn wake_due(&self, now: u32) {
        if now < self.earliest.get() {
            return;
        }
        self.earliest.set(u32::MAX);
        for entry in self.open.borrow().connections() {
            match entry.state.due() {
                Some(due) if due > now => self.note_due(due),
                Some(_) => entry.wake(),
                None => {}
            }
        }
    }

    /// Cuts what has stood still for too long.
    pub(crate) fn sweep(&self, settings: &ProxySettings) {
        self.cut(|entry| entry.state.is_overdue(settings));
    }

    /// Tells all to end after what they are doing.
    pub(crate) fn finish_all(&self) {
        for entry in self.open.borrow().connections() {
            entry.state.finish();
            entry.wake();
        }
    }

    /// Cuts all.
    pub(crate) fn cut_all(&self) {
        self.cut(|_| true);
    }

    /// Waits until there are none.
    pub(crate) async fn emptied(&self) {
        while !self.open.borrow().is_empty() {
            self.emptied.notified().await;
        }
    }

    // Aborting does not run the task: it leaves the list when the runtime drops it, after this loop.
    fn cut(&self, which: impl Fn(&ListedConn) -> bool) {
        for entry in self.open.borrow().connections().filter(|entry| which(entry)) {
            if let Some(abort) = &entry.abort {
                abort.abort();
            }
        }
    }
}

impl ListedConn {
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl Evictable for ListedConn {
    fn rank(&self) -> Option<EvictionRank> {
        self.state.rank()
    }

    /// An idle connection ends as one does that is told to; one whose head is not complete is cut. Neither runs the task now.
    fn ask_to_close(&self) -> bool {
        if self.state.is_idle() {
            self.state.finish();
            self.wake();
        } else if let Some(abort) = &self.abort {
            abort.abort();
        }
        true
    }
}

impl ConnGuard {
    /// Its number in the list.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for ConnGuard {
    fn drop(&mut self) {
        // Dropped outside the borrow: an entry holds nothing that looks at the list, but that need not stay so.
        let entry = self.list.open.borrow_mut().remove(self.id, &self.list.totals);
        drop(entry);
        self.list.emptied.notify_waiters();
    }
}
