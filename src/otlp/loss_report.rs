//! Tells in the log what a collector did not get.
//!
//! Invariants: losses are told at once, and then once a minute at most, with their number; no line of it becomes a record for the collector, or each
//! loss would cause the next one.

use std::time::{Duration, Instant};

/// The shortest time between two lines of one signal.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Tells what the collector of one signal did not get.
#[derive(Debug)]
pub(super) struct LossReport {
    items: &'static str,
    told_at: Option<Instant>,
    told: u64,
    why: Option<String>,
    /// The items that are being sent, of which nobody knows yet if the collector takes them.
    pub(super) under_way: usize,
}

impl LossReport {
    /// Creates a report of a signal with these items.
    pub(super) fn new(items: &'static str) -> Self {
        Self { items, told_at: None, told: 0, why: None, under_way: 0 }
    }

    /// Keeps the latest reason.
    pub(super) fn failed(&mut self, why: String) {
        tracing::debug!(why, "a collector did not take {}", self.items);
        self.why = Some(why);
    }

    /// Tells the losses, if it is time. `lost` is their number since the start.
    pub(super) fn tell(&mut self, lost: u64, now: Instant) {
        if let Some((dropped, reason)) = self.due(lost, now) {
            tracing::warn!(dropped, reason, "the collector of {} does not take them all", self.items);
        }
    }

    /// Gives up what is under way, because the server stops. Returns the number of its items.
    pub(super) fn give_up(&mut self) -> usize {
        let left = std::mem::take(&mut self.under_way);
        if left > 0 {
            self.failed("no answer before the server stopped".to_owned());
        }
        left
    }

    /// Tells the losses that nothing was said of yet.
    pub(super) fn tell_last(&mut self, lost: u64, now: Instant) {
        self.told_at = None;
        self.tell(lost, now);
    }

    /// Returns the number of new losses and the reason, if they are to be told.
    fn due(&mut self, lost: u64, now: Instant) -> Option<(u64, String)> {
        let is_time = self.told_at.is_none_or(|at| now.saturating_duration_since(at) >= TELL_EVERY);
        if lost == self.told || !is_time {
            return None;
        }
        let dropped = lost.saturating_sub(self.told);
        (self.told, self.told_at) = (lost, Some(now));
        let why = self.why.take();
        Some((dropped, why.unwrap_or_else(|| "more of them come than it takes".to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn losses_are_told_at_once_and_then_once_a_minute_with_their_number() {
        let (mut report, start) = (LossReport::new("spans"), clock::instant());
        let mut tell = |lost: u64, secs: u64, why: Option<&str>| {
            if let Some(why) = why {
                report.failed(why.to_owned());
            }
            report.due(lost, start + Duration::from_secs(secs))
        };
        let too_many = "more of them come than it takes";
        for (lost, secs, why, expected) in [
            (0, 0, None, None),
            (3, 1, None, Some((3, too_many))),
            (5, 2, Some("a"), None),
            (9, 60, Some("b"), None),
            (9, 61, None, Some((6, "b"))),
            (9, 200, None, None),
            (10, 201, None, Some((1, too_many))),
        ] {
            let told = tell(lost, secs, why);
            assert_eq!(told, expected.map(|(dropped, why)| (dropped, why.to_owned())), "{lost} at {secs}");
        }
    }
}
