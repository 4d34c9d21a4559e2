//! The only place where tasks and threads begin, and where the process learns that it is to end.
//!
//! Every background task has an owner (whoever holds the [`Lifecycle`]), a name, and an end:
//! the stop token. A task that panics, or ends before it was told to, takes the server down in good order, for
//! what it did is done by nobody else; a connection's panic ends that connection alone.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Shows that a part of the server still runs: the part beats several times a second. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    part: Arc<str>,
    last: Arc<AtomicU64>,
}

impl Heartbeat {
    /// That of the part called `part`, which is alive at `now_ms`.
    pub fn new(part: impl Into<Arc<str>>, now_ms: u64) -> Self {
        Self { part: part.into(), last: Arc::new(AtomicU64::new(now_ms)) }
    }

    /// The part runs at `now_ms`.
    pub fn beat(&self, now_ms: u64) {
        self.last.store(now_ms, Ordering::Relaxed);
    }

    /// Returns the part's name if it has not run for more than a second before `now_ms`.
    pub fn silent(&self, now_ms: u64) -> Option<&str> {
        let silent = now_ms.saturating_sub(self.last.load(Ordering::Relaxed)) > 1000;
        silent.then_some(&*self.part)
    }
}

/// The tasks of one part of the server, and the word that ends them.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// A part that nothing runs in yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled once the part is to end.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Runs what the whole server depends on; if it panics, or ends before it is told to, the part is stopped.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let ended = AssertUnwindSafe(task).catch_unwind().await;
            if !stop.is_cancelled() {
                let how = if ended.is_ok() { "ended" } else { "panicked" };
                tracing::error!(task = name, "a task {how}; stopping");
                stop.cancel();
            }
        });
    }

    /// Runs what one connection or one request needs; if it panics, nothing else is concerned.
    pub fn spawn_one(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a task panicked");
            }
        });
    }

    /// Asks the part to end, and waits for its tasks, `grace` at most. Whether all ended.
    pub async fn end(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}

/// Runs `task` on the current thread's [`tokio::runtime::LocalRuntime`]; it ends with its runtime at the latest,
/// or when it is aborted. A panic ends the task alone.
pub fn spawn_local(task: impl Future<Output = ()> + 'static) -> AbortHandle {
    tokio::task::spawn_local(task).abort_handle()
}

/// Does what would hold a thread of the control runtime for long; its other tasks go on meanwhile on another thread.
///
/// It costs as much as a few commands do: not worth it for what is over in a millisecond.
pub fn at_length<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // A runtime of one thread has nowhere to go on.
        _ => work(),
    }
}

/// Starts a named thread.
///
/// # Errors
/// If the system has no room for another.
pub fn spawn_thread<T: Send + 'static>(
    name: String,
    body: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<thread::JoinHandle<T>> {
    thread::Builder::new().name(name).spawn(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_silent_once_it_has_not_run_for_a_second() {
        let worker = Heartbeat::new("worker 1", 5_000);
        assert_eq!(worker.silent(6_000), None);
        assert_eq!(worker.silent(6_001), Some("worker 1"));
        worker.clone().beat(6_500);
        assert_eq!(worker.silent(7_500), None);
        assert_eq!(worker.silent(0), None, "it cannot have been silent before");
    }

    #[tokio::test]
    async fn a_task_that_panics_or_ends_before_it_is_told_to_stops_its_part() {
        let part = Lifecycle::new();
        part.spawn("panics", async { assert_eq!(std::hint::black_box(1), 2) });
        part.stopping().cancelled().await;
        let part = Lifecycle::new();
        part.spawn("ends", async {});
        part.stopping().cancelled().await;
        assert!(part.end(Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn the_task_of_one_connection_takes_nothing_else_with_it() {
        let part = Lifecycle::new();
        let stop = part.stopping().clone();
        part.spawn("goes on", async move { stop.cancelled().await });
        part.spawn_one("panics", async { assert_eq!(std::hint::black_box(1), 2) });
        while part.tasks.len() > 1 {
            tokio::task::yield_now().await;
        }
        assert!(!part.stopping().is_cancelled());
        assert!(part.end(Duration::from_secs(10)).await, "all end once they are told to");
    }
}
