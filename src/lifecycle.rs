//! The only place where tasks and threads start.
//!
//! Every task has an owner (the holder of the [`Lifecycle`]), a name, and an end (the stop token). A task that
//! panics, or ends before it is asked to, stops the server in good order, because nobody else does its work. A panic
//! in a connection ends only that connection.

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

/// A sign of life of a part of the server, which beats several times a second. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    part: Arc<str>,
    last: Arc<AtomicU64>,
}

impl Heartbeat {
    /// Creates the heartbeat of `part`, which is alive at `now_ms`.
    pub fn new(part: impl Into<Arc<str>>, now_ms: u64) -> Self {
        Self { part: part.into(), last: Arc::new(AtomicU64::new(now_ms)) }
    }

    /// Records that the part runs at `now_ms`.
    pub fn beat(&self, now_ms: u64) {
        self.last.store(now_ms, Ordering::Relaxed);
    }

    /// Returns the part's name if its last beat is more than a second before `now_ms`.
    pub fn silent(&self, now_ms: u64) -> Option<&str> {
        let silent = now_ms.saturating_sub(self.last.load(Ordering::Relaxed)) > 1000;
        silent.then_some(&*self.part)
    }
}

/// The tasks of one part of the server and their stop token.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Lifecycle {
    /// Creates a part without tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the token that is cancelled once the part must stop.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stop
    }

    /// Starts a task that the whole server depends on. If it panics or ends early, the part is stopped.
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

    /// Starts a task for one connection or request. A panic affects nothing else.
    pub fn spawn_one(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            if AssertUnwindSafe(task).catch_unwind().await.is_err() {
                tracing::error!(task = name, "a task panicked");
            }
        });
    }

    /// Stops the part and waits for its tasks, `grace` at most. Returns true if all ended.
    pub async fn end(&self, grace: Duration) -> bool {
        self.stop.cancel();
        self.tasks.close();
        tokio::time::timeout(grace, self.tasks.wait()).await.is_ok()
    }
}

/// Starts `task` on the current thread's [`tokio::runtime::LocalRuntime`]. It ends with the runtime at the
/// latest, or once it is aborted. A panic ends only the task.
pub fn spawn_local(task: impl Future<Output = ()> + 'static) -> AbortHandle {
    tokio::task::spawn_local(task).abort_handle()
}

/// Does long work on a control thread, whose other tasks move to another thread meanwhile.
///
/// That costs as much as a few commands, so it is not worth it for work of a millisecond.
pub fn run_blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        // A runtime with one thread cannot move its tasks.
        _ => work(),
    }
}

/// Starts a named thread.
///
/// # Errors
/// If the system has no room for another thread.
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
