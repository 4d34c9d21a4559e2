//! Backends that serve one connection at a time: development servers, `http.server` of Python and their like.
//!
//! Such a backend answers on no other connection while one is open. An idle connection to it would therefore block requests on
//! other connections, and health checks. A request that has waited on a new connection for [`STALLED_AFTER`] enters the backend
//! into the list here, and the workers close their idle connections to it. If an answer follows, the workers keep no idle
//! connection to the backend for a while. Invariants: a request on a kept connection does not touch the list; the list is
//! bounded.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::clock;

/// The time without an answer on a new connection after which idle connections are closed.
pub(crate) const STALLED_AFTER: Duration = Duration::from_millis(500);
/// The time after the close of idle connections within which an answer counts as its result.
const HELPED_WITHIN: Duration = Duration::from_millis(500);
/// The time for which no idle connection is kept to a backend that serves one at a time.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);
/// The most backends in the list.
const REMEMBERED_MAX: usize = 1024;

/// The list of the process. It is shared because the idle connection of one worker blocks requests of other workers.
static SERIAL: LazyLock<Serial> = LazyLock::new(Serial::default);

/// The backends that may serve one connection at a time.
#[derive(Debug, Default)]
struct Serial {
    // The number of changes of the list, so that workers read it only when it has changed.
    changes: AtomicU32,
    // The key is `Endpoint::origin_hash`.
    backends: Mutex<HashMap<u64, SerialBackend>>,
}

#[derive(Debug, Default)]
struct SerialBackend {
    /// The number of requests and probes that wait for an answer on a new connection.
    waiting: usize,
    /// The time when idle connections were last closed for them.
    closed: Option<Instant>,
    /// The time until which no idle connection is kept to it.
    until: Option<Instant>,
}

impl SerialBackend {
    fn is_remembered(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

impl Serial {
    fn change(&self) -> MutexGuard<'_, HashMap<u64, SerialBackend>> {
        self.changes.fetch_add(1, Ordering::Release);
        self.backends()
    }

    fn backends(&self) -> MutexGuard<'_, HashMap<u64, SerialBackend>> {
        // No code panics while it holds the lock.
        self.backends.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs `connected`, which waits for an answer on a new connection to the backend `origin`. After `stalled_after`, the workers
/// close their idle connections to that backend.
pub(crate) async fn await_answer<T>(origin: u64, stalled_after: Duration, connected: impl Future<Output = T>) -> T {
    let mut connected = pin!(connected);
    if let Ok(done) = timeout(stalled_after, &mut connected).await {
        return done;
    }
    let waiting = StalledWait::begin(origin);
    let done = connected.await;
    waiting.end();
    done
}

/// A request or probe that has waited on a new connection for too long.
struct StalledWait(u64);

impl StalledWait {
    fn begin(origin: u64) -> Self {
        SERIAL.change().entry(origin).or_default().waiting += 1;
        Self(origin)
    }

    /// Ends the wait. If idle connections were closed shortly before, the backend counts as one that serves one at a time.
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

impl Drop for StalledWait {
    fn drop(&mut self) {
        let mut backends = SERIAL.change();
        let Some(backend) = backends.get_mut(&self.0) else { return };
        backend.waiting = backend.waiting.saturating_sub(1);
        if backend.waiting == 0 && !backend.is_remembered(clock::instant()) {
            backends.remove(&self.0);
        }
    }
}

/// Returns a number that changes whenever [`origins`] does.
pub(crate) fn changes() -> u32 {
    SERIAL.changes.load(Ordering::Acquire)
}

/// Returns the backends that may serve one connection at a time, in order. The flag is true for those that are known to.
pub(crate) fn origins() -> Vec<(u64, bool)> {
    let now = clock::instant();
    let mut origins: Vec<_> =
        SERIAL.backends().iter().map(|(origin, backend)| (*origin, backend.is_remembered(now))).collect();
    origins.sort_unstable();
    origins
}

/// Notes that idle connections to a backend were closed.
pub(crate) fn note_idle_closed(origin: u64) {
    if let Some(backend) = SERIAL.backends().get_mut(&origin) {
        backend.closed = Some(clock::instant());
    }
}

/// Removes the backends whose time in the list has passed.
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
    fn a_backend_is_remembered_only_if_closing_idle_connections_helped() {
        for helped in [true, false] {
            let origin = u64::MAX - u64::from(helped);
            let before = changes();
            let waiting = StalledWait::begin(origin);
            assert!(origins().contains(&(origin, false)) && changes() != before);
            if helped {
                note_idle_closed(origin);
            }
            waiting.end();
            assert_eq!(origins().contains(&(origin, true)), helped);
        }
    }
}
