//! The lines of the access log that were lost: their number, and a warning about them now and then.
//!
//! Invariants: the number never falls while the server runs, also when another access log takes over; a loss is told of while it goes on, and no
//! more than once in [`WARN_EVERY`]. A worker that counts a loss waits for nobody.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::domain::{Span, Time};

/// The shortest time between two warnings.
const WARN_EVERY: Span = Span::from_secs(10);

/// The lines that were lost.
#[derive(Debug, Default)]
pub(super) struct LostLines {
    ever: AtomicU64,
    unwarned: AtomicU64,
    /// The time from which on the next warning is due, in milliseconds.
    due_ms: AtomicU64,
    /// The number of threads that write lines.
    pub(super) threads: AtomicUsize,
}

impl LostLines {
    /// Returns the number of lines that were lost since the start of the server.
    pub(super) fn ever(&self) -> u64 {
        self.ever.load(Ordering::Relaxed)
    }

    /// Counts lines that are lost at `now`, and warns of them if a warning is due.
    pub(super) fn add(&self, lines: u64, now: Time) {
        self.ever.fetch_add(lines, Ordering::Relaxed);
        self.unwarned.fetch_add(lines, Ordering::Relaxed);
        self.warn_if_due(now);
    }

    /// Warns of lines that were lost, if it has not done so for a while.
    pub(super) fn warn_if_due(&self, now: Time) {
        if self.unwarned.load(Ordering::Relaxed) == 0 {
            return;
        }
        let due = self.due_ms.load(Ordering::Relaxed);
        let next = now.after(WARN_EVERY).0;
        // Of several who find it due, one warns.
        let is_ours = || self.due_ms.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if now.0 >= due && is_ours() {
            self.warn();
        }
    }

    /// Warns of lines that were lost and not warned of yet.
    pub(super) fn warn(&self) {
        let dropped = self.unwarned.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            tracing::warn!(dropped, "lines of the access log were dropped: its place did not take them");
        }
    }
}
