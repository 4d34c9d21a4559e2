//! The access log: a line for each request, written by a thread of its own.
//!
//! Each worker collects its lines by itself and hands them over now and then. Invariants: a worker never waits for the sink: lines for which there
//! is no room are dropped and counted. The lines of one worker are in the order in which its requests ended.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::combined;
use super::finished::FinishedRequest;
use super::json_line::JsonLines;
use super::locks::lock;
use super::lost_lines::LostLines;
use super::query_mask::QueryMask;
use super::sink::{AccessSink, OpenSink};
use crate::{clock, lifecycle};

/// The most bytes that a worker collects, and the most that wait to be written for it: together twice as many.
const WAITING_BYTES_MAX: usize = 1024 * 1024;
/// The number of bytes from which on a worker hands its lines over. Fewer cost more changes of threads and system calls; more no longer fit into
/// the cache of a core.
const HAND_OVER_BYTES: usize = 256 * 1024;
/// The room that a buffer keeps. It is above the number of bytes that are handed over, because the last line goes beyond it.
const KEPT_BYTES: usize = 2 * HAND_OVER_BYTES;
/// The number of ticks of a worker after which it hands over what it has: a fifth of a second.
const HAND_OVER_TICKS: u32 = 4;
/// The longest time until the thread looks whether a warning of lost lines is due.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The longest time for the last lines.
const LAST_LINES_MAX: Duration = Duration::from_secs(1);
/// The most threads that write: that of the log, and those of earlier ones whose place does not take their last lines.
const THREADS_MAX: usize = 4;

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLine {
    /// A JSON object.
    #[default]
    Json,
    /// The combined format of Apache httpd and nginx.
    Combined,
}

/// The settings of the access log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLogSettings {
    /// The form of a line.
    pub line: LogLine,
    /// The place of the lines.
    pub sink: AccessSink,
}

/// An access log that is being written. Its thread ends when it is dropped.
pub struct AccessLog {
    settings: AccessLogSettings,
    shared: Arc<SharedLog>,
    thread: Thread,
    // Closed once the thread has written the last line.
    written: Mutex<Receiver<()>>,
}

struct SharedLog {
    // One for each worker.
    places: Box<[HandOver]>,
    lost: Arc<LostLines>,
    reopens: AtomicBool,
    closes: AtomicBool,
}

/// The place at which one worker hands its lines over. Aligned to cache lines of its own, so that no worker writes to those of another.
#[derive(Default)]
#[repr(align(128))]
struct HandOver(Mutex<HandedOver>);

#[derive(Default)]
struct HandedOver {
    // Lines that the thread has not taken yet.
    lines: Vec<u8>,
    // A buffer that the thread gives back.
    spare: Vec<u8>,
}

/// The lines that one worker has not handed over yet.
pub(super) struct WorkerLines {
    log: Option<Arc<AccessLog>>,
    worker: usize,
    bytes: Vec<u8>,
    // The number of bytes at which it hands over next, and the ticks since it did.
    due_bytes: usize,
    ticks: u32,
    json: JsonLines,
    // The second of the last line and its text, for formats without milliseconds.
    second: u64,
    date: String,
}

impl AccessLog {
    /// Opens the sink and starts the thread, for this number of workers. Lines that are lost are counted in `lost`.
    ///
    /// # Errors
    /// If the sink cannot be opened, the system has no room for another thread, or too many earlier logs have not ended.
    pub(super) fn start(settings: AccessLogSettings, workers: usize, lost: Arc<LostLines>) -> io::Result<Self> {
        if lost.threads.load(Ordering::Relaxed) >= THREADS_MAX {
            return Err(io::Error::other("the places of earlier access logs take nothing; read what is there first"));
        }
        let sink = OpenSink::open(settings.sink.clone())?;
        let shared = Arc::new(SharedLog {
            places: (0..workers.max(1)).map(|_| HandOver::default()).collect(),
            lost,
            reopens: AtomicBool::new(false),
            closes: AtomicBool::new(false),
        });
        let (ending, written) = mpsc::channel();
        let writer = AccessLogThread { shared: Arc::clone(&shared), sink, ending };
        let started = lifecycle::spawn_thread("access log".to_owned(), move || writer.run())?;
        shared.lost.threads.fetch_add(1, Ordering::Relaxed);
        let thread = started.thread().clone();
        Ok(Self { settings, shared, thread, written: Mutex::new(written) })
    }

    /// Returns its settings.
    pub fn settings(&self) -> &AccessLogSettings {
        &self.settings
    }

    /// Opens the file again, once the lines that were handed over are in the old one.
    pub fn reopen(&self) {
        self.shared.reopens.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Writes the lines that were handed over, and ends. Takes a second at most.
    pub fn finish(&self) {
        self.close();
        let _ = lock(&self.written).recv_timeout(LAST_LINES_MAX);
    }

    fn close(&self) {
        self.shared.closes.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Takes the lines of a worker, and leaves an empty buffer. Returns false, and takes nothing, while earlier lines wait; the `last` ones follow
    /// them.
    fn take(&self, worker: usize, lines: &mut Vec<u8>, is_last: bool) -> bool {
        let places = &self.shared.places;
        let place = worker.checked_rem(places.len()).and_then(|index| places.get(index));
        let is_taken = place.is_some_and(|HandOver(place)| {
            let mut place = lock(place);
            if place.lines.is_empty() {
                std::mem::swap(&mut place.lines, lines);
                std::mem::swap(&mut place.spare, lines);
            } else if is_last {
                place.lines.append(lines);
            }
            lines.is_empty()
        });
        self.thread.unpark();
        is_taken
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("AccessLog").field(&self.settings).finish()
    }
}

impl WorkerLines {
    /// Returns the lines of this worker: none yet, and no log to write to.
    pub(super) fn new(worker: usize) -> Self {
        Self {
            log: None,
            worker,
            bytes: Vec::new(),
            due_bytes: HAND_OVER_BYTES,
            ticks: 0,
            json: JsonLines::default(),
            second: 0,
            date: String::new(),
        }
    }

    /// Goes over to another log.
    pub(super) fn write_to(&mut self, log: Option<Arc<AccessLog>>) {
        self.hand_over(true);
        self.log = log;
    }

    /// Adds the line of a request. `mask` hides the values of secret parameters.
    pub(super) fn add(&mut self, request: &FinishedRequest<'_>, mask: &ArcSwap<QueryMask>) {
        let Some(log) = &self.log else { return };
        if self.bytes.len() >= WAITING_BYTES_MAX {
            return log.shared.lost.add(1, clock::now());
        }
        match log.settings.line {
            LogLine::Json => self.json.add(&mut self.bytes, request, mask),
            LogLine::Combined => {
                let time = request.time();
                if self.second != time.0 / 1000 {
                    (self.second, self.date) = (time.0 / 1000, time.log_date());
                }
                combined::write_line(&mut self.bytes, request, &self.date, mask);
            }
        }
        if self.bytes.len() >= self.due_bytes {
            self.hand_over(false);
        }
    }

    /// Hands over what has waited for long. Must be called at each tick of the worker.
    pub(super) fn tick(&mut self) {
        self.ticks += 1;
        if self.ticks >= HAND_OVER_TICKS {
            self.hand_over(false);
        }
    }

    fn hand_over(&mut self, is_last: bool) {
        self.ticks = 0;
        let Some(log) = self.log.as_ref().filter(|_| !self.bytes.is_empty()) else { return };
        let left = if log.take(self.worker, &mut self.bytes, is_last) { 0 } else { self.bytes.len() };
        self.due_bytes = left + HAND_OVER_BYTES;
    }
}

impl Drop for WorkerLines {
    fn drop(&mut self) {
        self.hand_over(true);
    }
}

impl fmt::Debug for WorkerLines {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("WorkerLines").field(&self.log).finish()
    }
}

/// The thread that writes.
struct AccessLogThread {
    shared: Arc<SharedLog>,
    sink: OpenSink,
    // Dropped at the end.
    #[expect(dead_code, reason = "its end is the message")]
    ending: Sender<()>,
}

impl AccessLogThread {
    fn run(mut self) {
        loop {
            // Read before the lines, so that those that came before are still written.
            let closes = self.shared.closes.load(Ordering::Acquire);
            let reopens = self.shared.reopens.swap(false, Ordering::AcqRel);
            self.flush();
            if reopens {
                self.sink.reopen();
            }
            if closes {
                self.shared.lost.threads.fetch_sub(1, Ordering::Relaxed);
                return self.shared.lost.warn();
            }
            self.shared.lost.warn_if_due(clock::now());
            thread::park_timeout(LOOK_EVERY);
        }
    }

    /// Writes the lines that were handed over.
    fn flush(&mut self) {
        for HandOver(place) in &self.shared.places {
            let mut lines = std::mem::take(&mut lock(place).lines);
            if lines.is_empty() {
                continue;
            }
            let lost = self.sink.put(&lines) as u64;
            if lost > 0 {
                self.shared.lost.add(lost, clock::now());
            }
            lines.clear();
            lines.shrink_to(KEPT_BYTES);
            lock(place).spare = lines;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::THREADS_MAX;
    use crate::request_log::samples::bare;
    use crate::request_log::{AccessLogSettings, AccessSink, FinishedRequest, LogLine, RequestLog};

    fn settings(path: &str) -> AccessLogSettings {
        AccessLogSettings { line: LogLine::Json, sink: AccessSink::File(path.into()) }
    }

    #[test]
    fn lines_are_counted_as_lost_while_their_place_is_stuck_and_the_count_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe").display().to_string();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        // Nobody reads what is in the pipe.
        let _reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let requests = RequestLog::default();
        let worker = requests.worker(0);
        requests.set_access_log(Some(requests.open_access_log(settings(&path), 1).unwrap().into()));
        let long = "x".repeat(100_000);
        let request = FinishedRequest { path: &long, ..bare("") };
        (0..100).for_each(|_| worker.tell(&request, false));
        let lost = requests.lost_lines();
        assert!(lost > 0);
        requests.set_access_log(Some(requests.open_access_log(settings("/dev/null"), 1).unwrap().into()));
        worker.tick();
        assert!(requests.lost_lines() >= lost);
    }

    #[test]
    fn logs_whose_place_is_stuck_are_bounded() {
        let requests = RequestLog::default();
        let mut open: Vec<_> =
            (0..THREADS_MAX).map(|_| requests.open_access_log(settings("/dev/null"), 1).unwrap()).collect();
        let refused = requests.open_access_log(settings("/dev/null"), 1).unwrap_err();
        assert!(refused.to_string().contains("earlier access logs"), "{refused}");
        drop(open.pop());
        // Its thread ends soon.
        while requests.open_access_log(settings("/dev/null"), 1).is_err() {
            std::thread::yield_now();
        }
    }
}
