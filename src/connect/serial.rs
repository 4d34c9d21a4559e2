//! Backends that serve one connection at a time: development servers, `http.server` of Python and their like.
//!
//! Such a backend leaves every other connection unanswered while one that it has taken is open, so a connection that is kept for
//! the next request starves requests on other connections and health checks. Whoever has waited on a new connection for
//! [`PATIENCE`] says so here, and the workers close what they keep idle to that backend. Where that helped, nothing is kept to it
//! for a while. What must hold: a request on a kept connection costs nothing of this; the list is bounded.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::clock;

/// The time that a new connection may be without an answer before idle ones make way.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);
/// An answer that comes so soon after idle connections were closed came because of that.
const HELPED_WITHIN: Duration = Duration::from_millis(500);
/// The time that nothing is kept to a backend where it helped.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);
/// How many backends are remembered at once.
const REMEMBERED_MAX: usize = 1024;

/// One list for the process, because a worker's idle connection starves the requests of other workers and the health checks.
static SERIAL: LazyLock<Serial> = LazyLock::new(Serial::default);

#[derive(Debug, Default)]
struct Serial {
    // Rises with every change of the list, so that workers need not look into it.
    changes: AtomicU32,
    // By `Endpoint::origin_hash`.
    backends: Mutex<HashMap<u64, Backend>>,
}

#[derive(Debug, Default)]
struct Backend {
    /// Requests and checks that wait for an answer on a new connection.
    waiting: usize,
    /// When idle connections were last closed for them.
    closed: Option<Instant>,
    /// Nothing is kept to it until then.
    until: Option<Instant>,
}

impl Backend {
    fn is_remembered(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

impl Serial {
    fn change(&self) -> MutexGuard<'_, HashMap<u64, Backend>> {
        self.changes.fetch_add(1, Ordering::Release);
        self.backends()
    }

    fn backends(&self) -> MutexGuard<'_, HashMap<u64, Backend>> {
        // Nothing panics while it holds the lock.
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for what comes of a new connection to the backend `origin`. After `patience` idle connections make way for it.
pub(crate) async fn impatiently<T>(origin: u64, patience: Duration, connected: impl Future<Output = T>) -> T {
    let mut connected = pin!(connected);
    if let Ok(done) = timeout(patience, &mut connected).await {
        return done;
    }
    let waiting = Waiting::begin(origin);
    let done = connected.await;
    waiting.end();
    done
}

/// Somebody waits on a new connection.
struct Waiting(u64);

impl Waiting {
    fn begin(origin: u64) -> Self {
        SERIAL.change().entry(origin).or_default().waiting += 1;
        Self(origin)
    }

    /// It has waited long enough, as a rule because it was answered.
    fn end(self) {
        let now = clock::instant();
        let mut backends = SERIAL.backends();
        let has_room = backends.len() <= REMEMBERED_MAX;
        let Some(backend) = backends.get_mut(&self.0).filter(|_| has_room) else { return };
        if backend.closed.is_some_and(|closed| now.duration_since(closed) <= HELPED_WITHIN) {
            backend.until = Some(now + REMEMBERED_FOR);
            drop(backends);
            drop(SERIAL.change());
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut backends = SERIAL.change();
        let Some(backend) = backends.get_mut(&self.0) else { return };
        backend.waiting = backend.waiting.saturating_sub(1);
        if backend.waiting == 0 && !backend.is_remembered(clock::instant()) {
            backends.remove(&self.0);
        }
    }
}

/// A number that changes with [`origins`].
pub(crate) fn changes() -> u32 {
    SERIAL.changes.load(Ordering::Acquire)
}

/// The backends that may serve one connection at a time, in order, and whether they are known to.
pub(crate) fn origins() -> Vec<(u64, bool)> {
    let now = clock::instant();
    let mut origins: Vec<_> =
        SERIAL.backends().iter().map(|(origin, backend)| (*origin, backend.is_remembered(now))).collect();
    origins.sort_unstable();
    origins
}

/// Takes down that idle connections to a backend were closed.
pub(crate) fn has_made_way(origin: u64) {
    if let Some(backend) = SERIAL.backends().get_mut(&origin) {
        backend.closed = Some(clock::instant());
    }
}

/// Forgets the backends that were remembered for long enough.
pub(crate) fn forget_old() {
    let now = clock::instant();
    let mut backends = SERIAL.backends();
    let before = backends.len();
    backends.retain(|_, backend| backend.waiting > 0 || backend.is_remembered(now));
    if backends.len() < before {
        drop(backends);
        drop(SERIAL.change());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_remembered_where_making_way_helped_and_only_there() {
        for helped in [true, false] {
            let origin = u64::MAX - u64::from(helped);
            let before = changes();
            let waiting = Waiting::begin(origin);
            assert!(origins().contains(&(origin, false)) && changes() != before);
            if helped {
                has_made_way(origin);
            }
            waiting.end();
            assert_eq!(origins().contains(&(origin, true)), helped);
        }
    }
}
