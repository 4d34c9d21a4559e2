//! Requests that the proxy has finished: the access log, the last ones that failed, and taps.
//!
//! Workers tell of a request once, at its end. Invariants: a worker never waits here for a file, a reader or another worker; a request that
//! nobody wants to know of costs one read of a flag; all that is kept is bounded.

mod access_log;
mod combined;
mod json_line;
mod kept;
mod locks;
mod lost_lines;
mod query_mask;
mod sink;
mod taps;

use std::cell::RefCell;
use std::cmp::Reverse;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption, Cache};

pub use access_log::{AccessLog, AccessLogSettings, LogLine};
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
    access: Arc<ArcSwapOption<AccessLog>>,
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
    index: usize,
    // A view of `RequestLogState::access`: a request only compares the two.
    access: RefCell<AccessView>,
}

type AccessView = Cache<Arc<ArcSwapOption<AccessLog>>, Option<Arc<AccessLog>>>;

impl RequestLog {
    /// Returns the handle of a new worker.
    pub fn worker(&self, index: usize) -> WorkerRequests {
        let share = Arc::new(WorkerShare::default());
        lock(&self.0.workers).push(Arc::clone(&share));
        let access = RefCell::new(Cache::new(Arc::clone(&self.0.access)));
        WorkerRequests { log: self.clone(), share, index, access }
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

    /// Lets go of an access log that was replaced, even if no request ends.
    pub fn refresh(&self) {
        self.access.borrow_mut().load();
    }

    /// Returns a query without the values of its secret parameters.
    pub fn masked<'q>(&self, query: &'q str) -> std::borrow::Cow<'q, str> {
        self.log.0.mask.load().apply(query)
    }

    /// Returns a URL without the values of the secret parameters of its query.
    pub fn masked_url<'u>(&self, url: std::borrow::Cow<'u, str>) -> std::borrow::Cow<'u, str> {
        // Most have no query.
        if url.contains('?') { self.log.0.mask.load().apply_to_url(url) } else { url }
    }

    /// Tells of a request that began at `began`, and has ended. One that `has_failed` is kept.
    pub fn tell(&self, request: &RequestView<'_>, began: Instant, has_failed: bool) {
        if let Some(access) = self.access.borrow_mut().load() {
            access.write(self.index, request);
        }
        let is_tapped = !self.log.0.taps.is_empty();
        if !has_failed && !is_tapped {
            return;
        }
        let takers = self.log.0.taps.takers(request);
        if !has_failed && takers.is_empty() {
            return;
        }
        let request = Arc::new(request.kept());
        takers.iter().for_each(|tap| tap.push(&request));
        if has_failed {
            lock(&self.share.kept).push(KeptRequest { request, began });
        }
    }
}
