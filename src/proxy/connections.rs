//! The connections and tunnels of one worker: how many there are, and how each is told to end.
//!
//! What must hold: each entry leaves the list when its task ends, however it ends; the count over all workers
//! never passes the configured maximum for long (two workers may accept at the same moment).

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use super::Settings;
use super::wire::Phase;

/// See the module.
#[derive(Debug)]
pub(super) struct Connections {
    open: RefCell<HashMap<u64, Entry>>,
    next: Cell<u64>,
    total: Arc<AtomicUsize>,
    emptied: Notify,
}

#[derive(Debug)]
struct Entry {
    phase: Arc<Phase>,
    finish: Option<oneshot::Sender<()>>,
    abort: Option<AbortHandle>,
}

/// A task's place in the list.
#[derive(Debug)]
pub(super) struct Place {
    list: Rc<Connections>,
    id: u64,
}

impl Connections {
    pub(super) fn new(total: Arc<AtomicUsize>) -> Rc<Self> {
        Rc::new(Self { open: RefCell::default(), next: Cell::new(0), total, emptied: Notify::new() })
    }

    /// How many there are, over all workers.
    pub(super) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// A place for a task that is about to start. `finish` tells it to end after what it is doing.
    pub(super) fn enter(self: &Rc<Self>, phase: &Arc<Phase>, finish: Option<oneshot::Sender<()>>) -> Place {
        let id = self.next.replace(self.next.get() + 1);
        self.total.fetch_add(1, Ordering::Relaxed);
        self.open.borrow_mut().insert(id, Entry { phase: Arc::clone(phase), finish, abort: None });
        Place { list: Rc::clone(self), id }
    }

    /// Lets the task in `place` be cut.
    pub(super) fn can_cut(&self, id: u64, abort: AbortHandle) {
        if let Some(entry) = self.open.borrow_mut().get_mut(&id) {
            entry.abort = Some(abort);
        }
    }

    /// Cuts what has stood still for too long.
    pub(super) fn sweep(&self, settings: &Settings) {
        self.cut(|entry| entry.phase.is_overdue(settings));
    }

    /// Tells all to end after what they are doing.
    pub(super) fn finish_all(&self) {
        for entry in self.open.borrow_mut().values_mut() {
            entry.finish.take().map(|finish| finish.send(()));
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

impl Place {
    /// Its number in the list.
    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.list.total.fetch_sub(1, Ordering::Relaxed);
        // Dropped outside the borrow: an entry holds nothing that looks at the list, but that need not stay so.
        let entry = self.list.open.borrow_mut().remove(&self.id);
        drop(entry);
        self.list.emptied.notify_waiters();
    }
}
