//! Requests that the proxy has finished: the access log, the last ones that failed, and taps.
//!
//! Workers tell of a request once, at its end. Invariants: a worker never waits here for a file, a reader or another worker; a request that
//! nobody wants to know of costs one read of a flag; all that is kept is bounded.

mod access_log;
mod combined;
mod finished;
mod json_line;
mod kept;
mod line_cursor;
mod locks;
mod lost_lines;
mod query_mask;
mod sink;
mod taps;

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use access_log::WorkerLines;
pub use access_log::{AccessLog, AccessLogSettings, LogLine};
use arc_swap::{ArcSwap, ArcSwapOption};
pub use finished::{FinishedRequest, millis};
pub use json_line::route_part;
use kept::{KEPT_MAX, KeptRequest, KeptRequests};
use locks::lock;
use lost_lines::LostLines;
pub use query_mask::QueryMask;
pub use sink::AccessSink;
use taps::Taps;
pub use taps::{RequestFilter, Tap, TapLimits, TapsFull};

use crate::domain::{Error, Kind};
use crate::json::requests::RequestView;

/// The requests that the workers tell of. Cheap to clone; all clones share one state.
#[derive(Clone, Debug, Default)]
pub struct RequestLog(Arc<RequestLogState>);

#[derive(Debug, Default)]
struct RequestLogState {
    // True if there is an access log.
    is_logged: AtomicBool,
    access: ArcSwapOption<AccessLog>,
    // The number of times that the access log was replaced.
    replaced: AtomicU64,
    lost: Arc<LostLines>,
    mask: ArcSwap<QueryMask>,
    taps: Arc<Taps>,
    workers: Mutex<Vec<Arc<WorkerShare>>>,
}

/// The part that one worker writes to.
#[derive(Debug, Default)]
struct WorkerShare {
    kept: Mutex<KeptRequests>,
}

/// The handle of one worker.
#[derive(Debug)]
pub struct WorkerRequests {
    log: RequestLog,
    share: Arc<WorkerShare>,
    lines: RefCell<WorkerLines>,
    // `RequestLogState::replaced` as the lines know it: a request only compares the two.
    known: Cell<u64>,
}

impl RequestLog {
    /// Returns the handle of a new worker.
    pub fn worker(&self, index: usize) -> WorkerRequests {
        let share = Arc::new(WorkerShare::default());
        lock(&self.0.workers).push(Arc::clone(&share));
        WorkerRequests { log: self.clone(), share, lines: RefCell::new(WorkerLines::new(index)), known: Cell::new(0) }
    }

    /// Opens an access log for this number of workers. It is not in force yet.
    ///
    /// # Errors
    /// If its place cannot be opened, or the system has no room for another thread.
    pub fn open_access_log(&self, settings: AccessLogSettings, workers: usize) -> io::Result<AccessLog> {
        AccessLog::start(settings, workers, Arc::clone(&self.0.lost))
    }

    /// Returns the number of lines of the access log that were lost since the start of the server.
    pub fn lost_lines(&self) -> u64 {
        self.0.lost.ever()
    }

    /// Replaces the access log; `None` ends it. Lines that wait in the old one are still written. It ends once all workers have looked for the
    /// new one.
    pub fn set_access_log(&self, access: Option<Arc<AccessLog>>) {
        self.0.is_logged.store(access.is_some(), Ordering::Relaxed);
        self.0.access.store(access);
        // The release is seen with what was stored before it.
        self.0.replaced.fetch_add(1, Ordering::Release);
    }

    /// Returns the access log, if there is one.
    pub fn access_log(&self) -> Option<Arc<AccessLog>> {
        self.0.access.load_full()
    }

    /// Replaces the names of the secret parameters of queries.
    pub fn set_mask(&self, mask: QueryMask) {
        self.0.mask.store(Arc::new(mask));
    }

    /// Opens a tap: a bounded view of the requests that end from now on.
    ///
    /// # Errors
    /// If too many are open.
    pub fn tap(&self, filter: RequestFilter, limits: TapLimits) -> Result<Tap, TapsFull> {
        Taps::open(&self.0.taps, filter, limits)
    }

    /// Returns the request with this id.
    ///
    /// # Errors
    /// `NotFound` if no such request failed lately.
    pub fn get(&self, id: &str) -> Result<Arc<RequestView<'static>>, Error> {
        self.shares().iter().find_map(|share| lock(&share.kept).find(id)).ok_or_else(|| {
            let kept = format!(
                "each worker of the proxy keeps the last {KEPT_MAX} that failed, and as many that were refused"
            );
            Error::new(Kind::NotFound, format!("no request with this id failed lately; {kept}"))
        })
    }

    /// Returns the requests that failed lately, the last one first.
    pub fn failed(&self) -> Vec<Arc<RequestView<'static>>> {
        let mut all: Vec<_> = self.shares().iter().flat_map(|share| lock(&share.kept).all()).collect();
        all.sort_by_key(|kept| Reverse(kept.began));
        all.into_iter().map(|kept| kept.request).collect()
    }

    fn shares(&self) -> Vec<Arc<WorkerShare>> {
        lock(&self.0.workers).clone()
    }
}

impl WorkerRequests {
    /// True if somebody wants to know of requests that did not fail.
    pub fn is_watched(&self) -> bool {
        self.log.0.is_logged.load(Ordering::Relaxed) || !self.log.0.taps.is_empty()
    }

    /// Hands over lines that have waited for long, and lets go of an access log that was replaced, even if no request ends. Must be called at each
    /// tick of the worker.
    pub fn tick(&self) {
        let mut lines = self.lines.borrow_mut();
        self.follow(&mut lines);
        lines.tick();
    }

    /// Goes over to another access log, if it was replaced.
    fn follow(&self, lines: &mut WorkerLines) {
        let replaced = self.log.0.replaced.load(Ordering::Acquire);
        if self.known.replace(replaced) != replaced {
            lines.write_to(self.log.access_log());
        }
    }

    /// Returns a finished request in words.
    pub fn view<'a>(&self, request: &FinishedRequest<'a>) -> RequestView<'a> {
        request.view(&self.log.0.mask.load())
    }

    /// Tells of a request that has ended. One that `has_failed` is kept.
    pub fn tell(&self, request: &FinishedRequest<'_>, has_failed: bool) {
        {
            let mut lines = self.lines.borrow_mut();
            self.follow(&mut lines);
            lines.add(request, &self.log.0.mask);
        }
        if has_failed || !self.log.0.taps.is_empty() {
            self.show(request, has_failed);
        }
    }

    /// Shows it to the taps that take it, and keeps it if it `has_failed`.
    fn show(&self, request: &FinishedRequest<'_>, has_failed: bool) {
        let view = self.view(request);
        let takers = self.log.0.taps.takers(&view);
        if !has_failed && takers.is_empty() {
            return;
        }
        let view = Arc::new(view.kept());
        takers.iter().for_each(|tap| tap.push(&view));
        if has_failed {
            lock(&self.share.kept).push(KeptRequest { request: view, began: request.began });
        }
    }
}

#[cfg(test)]
mod samples;
