//! The clock of a worker: ticks of 50 ms since its start.
//!
//! The sweep of the worker sets it; requests read it without a call to the system. A reading is at most one tick late.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::connection_limits::TICK;
use crate::domain::Span;

/// The number of ticks since the worker started. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ticks(Arc<AtomicU32>);

impl Ticks {
    /// The length of a tick.
    pub(crate) const STEP: Duration = TICK;

    /// Returns the current tick.
    pub(crate) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Sets the clock to `elapsed` after the start and returns the tick.
    pub(crate) fn set(&self, elapsed: Duration) -> u32 {
        let now = Self::steps(elapsed);
        self.0.store(now, Ordering::Relaxed);
        now
    }

    /// Returns the first tick that is at least `span` from now.
    pub(crate) fn after(&self, span: Duration) -> u32 {
        self.now().saturating_add(Self::steps(span)).saturating_add(2)
    }

    /// Returns the number of ticks in a span of an option.
    pub(crate) fn of(span: Span) -> u32 {
        u32::try_from(span.millis() / u64::from(TICK.subsec_millis())).unwrap_or(u32::MAX - 2)
    }

    /// Returns the number of ticks in a span.
    pub(crate) fn steps(span: Duration) -> u32 {
        u32::try_from(span.as_millis() / Self::STEP.as_millis()).unwrap_or(u32::MAX - 2)
    }
}
