//! The counters of one worker: what it counts for no route. Other threads read them for metrics.
//!
//! Invariants: only the worker writes them; a client cannot make a new counter.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connection_limits::ListenerCounts;
use crate::proxy::refusal::Refusal;
use crate::traffic::{Endpoint, ReasonCounts, WorkerId};

/// The counters of one worker.
#[derive(Debug)]
pub struct WorkerCounters {
    worker: WorkerId,
    /// The connections of the listener for HTTP.
    pub http: Arc<ListenerCounts>,
    /// The connections of the listener for HTTPS.
    pub https: Arc<ListenerCounts>,
    /// The connections of the UDP socket.
    pub http3: Arc<ListenerCounts>,
    /// Locked by a request only if it is refused before its route is known.
    reasons: Mutex<ReasonCounts>,
}

impl WorkerCounters {
    /// Creates the counters of a worker.
    pub(crate) fn new(worker: WorkerId) -> Self {
        let [http, https, http3] = [(); 3].map(|()| Arc::default());
        Self { worker, http, https, http3, reasons: Mutex::default() }
    }

    /// Counts a refusal that the client hears: for its route, if it has one.
    pub(crate) fn count_refusal(&self, refusal: Refusal, endpoint: Option<&Arc<Endpoint>>) {
        match endpoint {
            Some(endpoint) => endpoint.live.record_reason(self.worker, refusal.reason()),
            None => self.lock().count(refusal.reason(), 1),
        }
    }

    /// Returns the refusals that concern no route, by reason.
    pub fn reasons(&self) -> ReasonCounts {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, ReasonCounts> {
        // Nothing panics while it holds the lock.
        self.reasons.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
