//! The connections and tunnels of one worker: how many there are, and how each is told to end.
//!
//! What must hold: each entry leaves the list when its task ends, however it ends; the count over all workers
//! never passes the configured maximum for long (two workers may accept at the same moment); at the maximum, what is idle
//! makes way for what is new, and nobody who is being answered does.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::Settings;
use super::phase::{Phase, Ticks};
use crate::traffic::Arrival;

/// How old a head must be that is not complete, to make way when the house is full; and when its own address is at its share.
const HEAD_AGE: Duration = Duration::from_secs(3);
const OWN_HEAD_AGE: Duration = Duration::from_secs(1);
/// One in so many makes way at once, so that not every new connection looks at all others.
const WAY_SHARE: usize = 64;

/// How many connections there are, over all workers.
#[derive(Debug, Default)]
pub(super) struct Totals {
    open: AtomicUsize,
    /// By address of the client. Looked at once per connection, never per request.
    addresses: Mutex<HashMap<IpAddr, usize>>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Connections {
    open: RefCell<HashMap<u64, Entry>>,
    next: Cell<u64>,
    totals: Arc<Totals>,
    emptied: Notify,
    // No connection wants to be woken before this tick.
    earliest: Cell<u32>,
    // When, and among whose, nobody was found to make way.
    barren: Cell<Option<(u32, Option<IpAddr>)>>,
}

#[derive(Debug)]
struct Entry {
    phase: Arc<Phase>,
    // Whose it is, unless its address speaks for many.
    address: Option<IpAddr>,
    // It made way, and counts no more.
    leaves: Cell<bool>,
    // Both known once its task has begun.
    waker: Option<Waker>,
    abort: Option<AbortHandle>,
}

/// A task's place in the list.
#[derive(Debug)]
pub(super) struct Place {
    list: Rc<Connections>,
    id: u64,
}

impl Totals {
    fn enter(&self, address: Option<IpAddr>) {
        self.open.fetch_add(1, Ordering::Relaxed);
        if let Some(address) = address {
            *self.addresses().entry(address).or_default() += 1;
        }
    }

    fn leave(&self, address: Option<IpAddr>) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = address else { return };
        let mut addresses = self.addresses();
        if let Some(count) = addresses.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&address);
            }
        }
    }

    fn of(&self, address: IpAddr) -> usize {
        self.addresses().get(&address).copied().unwrap_or_default()
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing panics while it holds the lock.
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts as one address: an IPv6 client has a network of 64 bits. `None` for a trusted proxy, which speaks for many.
fn counted_address(arrival: &Arrival) -> Option<IpAddr> {
    if arrival.trusted {
        return None;
    }
    Some(match arrival.address {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => std::net::Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    })
}

impl Connections {
    pub(super) fn new(totals: Arc<Totals>) -> Rc<Self> {
        let (next, earliest) = (Cell::new(0), Cell::new(u32::MAX));
        let (emptied, barren) = (Notify::new(), Cell::new(None));
        Rc::new(Self { open: RefCell::default(), next, totals, emptied, earliest, barren })
    }

    /// Whether there is room for a connection, after others have made way for it if they can.
    pub(super) fn have_room(&self, arrival: &Arrival, settings: &Settings, now: u32) -> bool {
        let address = counted_address(arrival);
        let own_full = address.is_some_and(|address| self.totals.of(address) >= settings.address_connections_max);
        (!own_full || self.make_way(address, now)) && (!self.are_full(settings) || self.make_way(None, now))
    }

    /// While the house is full, those that can make way do so: what is accepted elsewhere finds room.
    pub(super) fn make_room(&self, settings: &Settings, now: u32) {
        if self.are_full(settings) {
            self.make_way(None, now);
        }
    }

    /// The number of connections that are open, over all workers.
    pub(super) fn total(&self) -> usize {
        self.totals.open.load(Ordering::Relaxed)
    }

    fn are_full(&self, settings: &Settings) -> bool {
        self.total() >= settings.connections_max
    }

    /// Ends the connections that have been idle for the longest, or else those whose head has been coming for the longest;
    /// of one address, or of all. Whether there were any.
    fn make_way(&self, address: Option<IpAddr>, now: u32) -> bool {
        if self.barren.get() == Some((now, address)) {
            return false;
        }
        let open = self.open.borrow();
        let head_age = Ticks::steps(if address.is_some() { OWN_HEAD_AGE } else { HEAD_AGE });
        let mut ready: Vec<_> = open
            .values()
            .filter(|entry| !entry.leaves.get() && (address.is_none() || entry.address == address))
            .filter_map(|entry| Some((entry.phase.makes_way(head_age)?, entry)))
            .collect();
        let count = (ready.len() / WAY_SHARE + 1).min(ready.len());
        if count == 0 {
            self.barren.set(Some((now, address)));
            return false;
        }
        if count < ready.len() {
            ready.select_nth_unstable_by_key(count, |(rank, _)| *rank);
        }
        for (_, entry) in ready.iter().take(count) {
            entry.leaves.set(true);
            self.totals.leave(entry.address);
            entry.leave();
        }
        true
    }

    /// A place for a task that is about to start.
    pub(super) fn enter(self: &Rc<Self>, phase: &Arc<Phase>, arrival: &Arrival) -> Place {
        let id = self.next.replace(self.next.get() + 1);
        let address = counted_address(arrival);
        self.totals.enter(address);
        let entry = Entry { phase: Arc::clone(phase), address, leaves: Cell::new(false), waker: None, abort: None };
        self.open.borrow_mut().insert(id, entry);
        Place { list: Rc::clone(self), id }
    }

    /// Lets the task in `place` be cut.
    pub(super) fn can_cut(&self, id: u64, abort: AbortHandle) {
        if let Some(entry) = self.open.borrow_mut().get_mut(&id) {
            entry.abort = Some(abort);
        }
    }

    /// Lets the task in `place` be woken. Its waker stays the same as long as it lives.
    pub(super) fn can_wake(&self, id: u64, waker: Waker) {
        if let Some(entry) = self.open.borrow_mut().get_mut(&id) {
            entry.waker = Some(waker);
        }
    }

    /// Some connection wants to be woken at `due`.
    pub(super) fn note_due(&self, due: u32) {
        self.earliest.set(self.earliest.get().min(due));
    }

    /// Wakes those that are due. Looks at them only when one can be.
    pub(super) fn wake_due(&self, now: u32) {
        if now < self.earliest.get() {
            return;
        }
        self.earliest.set(u32::MAX);
        for entry in self.open.borrow().values() {
            match entry.phase.due() {
                Some(due) if due > now => self.note_due(due),
                Some(_) => entry.wake(),
                None => {}
            }
        }
    }

    /// Cuts what has stood still for too long.
    pub(super) fn sweep(&self, settings: &Settings) {
        self.cut(|entry| entry.phase.is_overdue(settings));
    }

    /// Tells all to end after what they are doing.
    pub(super) fn finish_all(&self) {
        for entry in self.open.borrow().values() {
            entry.phase.finish();
            entry.wake();
        }
    }

    /// Cuts all.
    pub(super) fn cut_all(&self) {
        self.cut(|_| true);
    }

    /// Waits until there are none.
    pub(super) async fn emptied(&self) {
        while !self.open.borrow().is_empty() {
            self.emptied.notified().await;
        }
    }

    // Aborting does not run the task: it leaves the list when the runtime drops it, after this loop.
    fn cut(&self, which: impl Fn(&Entry) -> bool) {
        for entry in self.open.borrow().values().filter(|entry| which(entry)) {
            if let Some(abort) = &entry.abort {
                abort.abort();
            }
        }
    }
}

impl Entry {
    /// An idle connection ends as one does that is told to; one whose head is not complete is cut.
    fn leave(&self) {
        if self.phase.is_idle() {
            self.phase.finish();
            self.wake();
        } else if let Some(abort) = &self.abort {
            abort.abort();
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl Place {
    /// Its number in the list.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // Dropped outside the borrow: an entry holds nothing that looks at the list, but that need not stay so.
        let entry = self.list.open.borrow_mut().remove(&self.id);
        if let Some(entry) = entry.as_ref().filter(|entry| !entry.leaves.get()) {
            self.list.totals.leave(entry.address);
        }
        drop(entry);
        self.list.emptied.notify_waiters();
    }
}
