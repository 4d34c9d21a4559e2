//! The stop of a worker, in steps: long streams are asked to end while everything is served, then what is in flight may
//! finish, then the socket is closed.
//!
//! Invariants: the worker accepts until it is told to close; each step has a bound.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::proxy::context::worker::WorkerContext;
use crate::proxy::ticks::Ticks;

/// The step that the workers are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StopPhase {
    /// Requests are served.
    Serving,
    /// Requests are served, and connections end with their next response.
    Draining {
        /// The time within which all long streams are asked to end.
        streams: Duration,
        /// The time after that for what is in flight.
        in_flight: Duration,
    },
    /// Nothing is accepted any more; what is in flight may finish within this time.
    Closing(Duration),
}

/// Waits until the worker must close. Returns the time for what is in flight.
pub(crate) async fn closing(phases: &mut watch::Receiver<StopPhase>) -> Duration {
    let closing = phases.wait_for(|phase| matches!(phase, StopPhase::Closing(_))).await;
    match closing.as_deref() {
        Ok(StopPhase::Closing(grace)) => *grace,
        // The proxy is gone without a stop.
        Ok(_) | Err(_) => Duration::ZERO,
    }
}

/// Drains the worker once it is told to: ends its long streams, then waits for what was in flight meanwhile. All else
/// goes on. `_draining` is dropped at the end.
pub(crate) async fn drain(
    worker: Rc<WorkerContext>,
    mut phases: watch::Receiver<StopPhase>,
    _draining: oneshot::Sender<()>,
) {
    let draining = phases.wait_for(|phase| *phase != StopPhase::Serving).await.map(|phase| *phase);
    worker.is_stopping.set(true);
    // Connections with streams tell their clients now.
    worker.connections.wake_all();
    let Ok(StopPhase::Draining { streams, in_flight }) = draining else { return };
    let steps = Cell::new(Ticks::steps(streams));
    wait_until(&steps, || {
        worker.long_streams.ask_share(steps.get());
        worker.long_streams.is_empty()
    })
    .await;
    worker.long_streams.end_all();
    let until = worker.connections.next_id();
    wait_until(&Cell::new(Ticks::steps(in_flight)), || !worker.connections.are_in_use_before(until)).await;
}

/// Ends a worker that accepts nothing any more: what is in flight may finish within `grace`.
pub(crate) async fn close(worker: &WorkerContext, grace: Duration) {
    worker.is_stopping.set(true);
    worker.long_streams.end_all();
    worker.connections.finish_all();
    // Clients that have connected and send nothing would be waited for.
    worker.connections.sweep(&worker.settings);
    let _ = tokio::time::timeout(grace, worker.connections.emptied()).await;
    worker.connections.cut_all();
    // The runtime drops cut tasks on its next turn.
    let _ = tokio::time::timeout(Duration::from_secs(1), worker.connections.emptied()).await;
}

/// Waits until `is_so`, which is looked at each tick, or until no step is left.
async fn wait_until(steps: &Cell<u32>, is_so: impl Fn() -> bool) {
    while !is_so() && steps.get() > 0 {
        steps.set(steps.get() - 1);
        tokio::time::sleep(Ticks::STEP).await;
    }
}
