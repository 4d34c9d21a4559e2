//! What connections are told without asking. Nobody who tells ever waits: a connection that does not
//! read loses what its bounded outbox cannot hold, and is told how much that was.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::domain::{Catalog, ConnectionId, Event};

use super::calls::Notice;
use super::ports::Traffic;

/// The most events that wait for one connection.
const OUTBOX_MAX: usize = 256;
/// Room beside them for what must not be lost: that the server stops, that the connection is to close.
const URGENT_MAX: usize = 8;

/// Something that a connection is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// An event of its session.
    Event(Event),
    /// So many events were lost because the connection did not read.
    Lagged(u64),
    /// The server stops.
    Shutdown,
    /// Its session was shut down: the connection closes.
    Close,
}

struct Line {
    sender: mpsc::Sender<Told>,
    missed: Arc<AtomicU64>,
}

/// Who can be told.
#[derive(Default)]
pub(super) struct Watch {
    lines: Mutex<HashMap<ConnectionId, Line>>,
    last: AtomicU64,
}

impl Watch {
    pub(super) fn attach(self: &Arc<Self>) -> Outbox {
        let connection = ConnectionId(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let (sender, receiver) = mpsc::channel(OUTBOX_MAX + URGENT_MAX);
        let missed = Arc::new(AtomicU64::new(0));
        self.lines().insert(connection, Line { sender, missed: Arc::clone(&missed) });
        Outbox { connection, receiver, missed, watch: Arc::clone(self) }
    }

    pub(super) fn tell(&self, connection: ConnectionId, told: Told) {
        let lines = self.lines();
        let Some(line) = lines.get(&connection) else { return };
        let full = matches!(told, Told::Event(_)) && line.sender.capacity() <= URGENT_MAX;
        if full || line.sender.try_send(told).is_err() {
            line.missed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells those whom notices concern, as `catalog` has them bound and subscribed.
    pub(super) fn notify(&self, catalog: &Catalog, traffic: &dyn Traffic, notices: Vec<Notice>) {
        for notice in notices {
            match notice {
                Notice::Close(connection) => self.tell(connection, Told::Close),
                Notice::ResetBreaker(key, route) => traffic.reset_breaker(key, route),
                Notice::Event(key, event) => {
                    let session = catalog.by_key(key).filter(|session| session.head.topics.contains(event.kind()));
                    if let Some(connection) = session.and_then(|session| session.bound) {
                        self.tell(connection, Told::Event(event));
                    }
                }
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<ConnectionId, Line>> {
        // No code panics while it holds the lock; were it to happen, the map is still whole.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's number and what it is told.
pub struct Outbox {
    connection: ConnectionId,
    receiver: mpsc::Receiver<Told>,
    missed: Arc<AtomicU64>,
    watch: Arc<Watch>,
}

impl Outbox {
    /// The connection's number.
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Waits for the next thing to tell. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Told {
        match self.receiver.recv().await {
            Some(told) => told,
            // The sender stands in `watch` for as long as this outbox lives.
            None => Told::Close,
        }
    }

    /// The next thing to tell, if something waits; what was lost is said after what was kept.
    pub fn try_next(&mut self) -> Option<Told> {
        if let Ok(told) = self.receiver.try_recv() {
            return Some(told);
        }
        match self.missed.swap(0, Ordering::Relaxed) {
            0 => None,
            missed => Some(Told::Lagged(missed)),
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.watch.lines().remove(&self.connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_does_not_read_is_told_how_much_was_lost() {
        let watch = Arc::new(Watch::default());
        let mut outbox = watch.attach();
        for _ in 0..OUTBOX_MAX + 3 {
            watch.tell(outbox.connection(), Told::Event(Event::DrainCompleted));
        }
        watch.tell(outbox.connection(), Told::Close);
        let told: Vec<Told> = std::iter::from_fn(|| outbox.try_next()).collect();
        assert_eq!(told.len(), OUTBOX_MAX + 2);
        assert_eq!(told[OUTBOX_MAX..], [Told::Close, Told::Lagged(3)], "the word to close is not lost");
    }

    #[test]
    fn a_connection_that_is_gone_is_told_nothing() {
        let watch = Arc::new(Watch::default());
        let connection = watch.attach().connection();
        watch.tell(connection, Told::Shutdown);
        assert!(watch.lines().is_empty());
        assert_ne!(watch.attach().connection(), connection, "numbers are not used again");
    }
}
