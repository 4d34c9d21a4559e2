//! The lines of the access log that were lost: their number, and a warning about them now and then.
//!
//! Invariants: the number never falls while the server runs, also when another access log takes over; a loss is told of while it goes on, and no
//! more than once in [`WARN_EVERY`].

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::locks::lock;
use crate::domain::{Span, Time};

/// The shortest time between two warnings.
const WARN_EVERY: Span = Span::from_secs(10);

/// The lines that were lost.
#[derive(Debug, Default)]
pub(super) struct LostLines {
    ever: AtomicU64,
    unwarned: AtomicU64,
    warned: Mutex<Option<Time>>,
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
        let mut warned = lock(&self.warned);
        if warned.is_none_or(|warned| now.since(warned) >= WARN_EVERY) {
            *warned = Some(now);
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
