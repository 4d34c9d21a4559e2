//! The list of the connections and tunnels of one worker.
//!
//! Invariants: each entry leaves the list when its task ends, for any reason; the count over all workers passes the
//! maximum only for a moment (two workers may accept at once); at the maximum, idle connections make way for new ones,
//! and no connection that is being answered does.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::connection_limits::{
    ConnectionCounts, ConnectionLimits, ConnectionRefusal, ConnectionTable, Evictable, EvictionRank,
};
use crate::domain::Origin;
use crate::proxy::client::conn_state::ConnState;
use crate::proxy::settings::ProxySettings;
use crate::traffic::Peer;

/// The connections and tunnels of one worker.
#[derive(Debug)]
pub(crate) struct ClientConnections {
    open: RefCell<ConnectionTable<ListedConn>>,
    totals: Arc<ConnectionCounts>,
    emptied: Notify,
    // The earliest tick at which a connection wants to be woken.
    earliest: Cell<u32>,
}

#[derive(Debug)]
struct ListedConn {
    state: Arc<ConnState>,
    // Both are known once the task has begun.
    waker: Option<Waker>,
    abort: Option<AbortHandle>,
}

/// The entry of a task in the list. The entry ends with it.
#[derive(Debug)]
pub(crate) struct ConnGuard {
    list: Rc<ClientConnections>,
    id: u64,
}

/// Returns the origin that a connection counts for; `None` for a trusted proxy, which speaks for many clients.
fn origin(peer: &Peer) -> Option<Origin> {
    (!peer.trusted).then(|| Origin::of(peer.address))
}

impl ClientConnections {
    pub(crate) fn new(totals: Arc<ConnectionCounts>) -> Rc<Self> {
        Rc::new(Self { open: RefCell::default(), totals, emptied: Notify::new(), earliest: Cell::new(u32::MAX) })
    }

    /// Makes room for a connection; idle ones make way if they must.
    ///
    /// # Errors
    /// [`ConnectionRefusal`] if none can.
    pub(crate) fn make_room_for(
        &self,
        peer: &Peer,
        limits: ConnectionLimits,
        now: u32,
    ) -> Result<(), ConnectionRefusal> {
        self.open.borrow_mut().make_room_for(origin(peer), &self.totals, limits, now)
    }

    /// Makes room while the listener is full, so that other workers can accept too.
    pub(crate) fn make_room(&self, limits: ConnectionLimits, now: u32) {
        self.open.borrow_mut().make_room(&self.totals, limits, now);
    }

    /// Returns the number of open connections of all workers.
    pub(crate) fn total(&self) -> usize {
        self.totals.open()
    }

    /// Enters a task that is about to start.
    pub(crate) fn enter(self: &Rc<Self>, state: &Arc<ConnState>, peer: &Peer) -> ConnGuard {
        let entry = ListedConn { state: Arc::clone(state), waker: None, abort: None };
        let id = self.open.borrow_mut().enter(origin(peer), &self.totals, entry);
        ConnGuard { list: Rc::clone(self), id }
    }

    /// Sets the handle that cuts the task.
    pub(crate) fn can_cut(&self, id: u64, abort: AbortHandle) {
        if let Some(entry) = self.open.borrow_mut().get_mut(id) {
            entry.abort = Some(abort);
        }
    }

    /// Sets the waker of the task. It stays the same for the life of the task.
    pub(crate) fn can_wake(&self, id: u64, waker: Waker) {
        if let Some(entry) = self.open.borrow_mut().get_mut(id) {
            entry.waker = Some(waker);
        }
    }

    /// Notes that a connection wants to be woken at `due`.
    pub(crate) fn note_due(&self, due: u32) {
        self.earliest.set(self.earliest.get().min(due));
    }

    /// Wakes the connections that are due. It looks at them only if one can be due.
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

    /// Cuts connections that have stood still for too long.
    pub(crate) fn sweep(&self, settings: &ProxySettings) {
        self.cut(|entry| entry.state.is_overdue(settings));
    }

    /// Ends all connections after their current requests.
    pub(crate) fn finish_all(&self) {
        for entry in self.open.borrow().connections() {
            entry.state.finish();
            entry.wake();
        }
    }

    /// Returns the number of the next connection.
    pub(crate) fn next_id(&self) -> u64 {
        self.open.borrow().next_id()
    }

    /// Returns true if a connection or tunnel with a number below `end` is in use.
    pub(crate) fn are_in_use_before(&self, end: u64) -> bool {
        self.open.borrow().entries().any(|(id, entry)| id < end && entry.state.rank().is_none())
    }

    /// Wakes the tasks of all connections.
    pub(crate) fn wake_all(&self) {
        self.open.borrow().connections().for_each(ListedConn::wake);
    }

    /// Cuts all connections.
    pub(crate) fn cut_all(&self) {
        self.cut(|_| true);
    }

    /// Waits until the list is empty.
    pub(crate) async fn emptied(&self) {
        while !self.open.borrow().is_empty() {
            self.emptied.notified().await;
        }
    }

    // An abort does not run the task: the entry leaves the list after this loop, when the runtime drops the task.
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

    /// Ends an idle connection in order, and cuts one with an unfinished head. Neither runs the task now.
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
    /// Returns the number of the entry.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for ConnGuard {
    fn drop(&mut self) {
        // The entry is dropped outside the borrow, in case it ever holds something that looks at the list.
        let entry = self.list.open.borrow_mut().remove(self.id, &self.list.totals);
        drop(entry);
        self.list.emptied.notify_waiters();
    }
}
