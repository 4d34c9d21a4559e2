//! The access log: a line for each request, written by a thread of its own.
//!
//! Each worker appends its lines to a buffer of its own, which the thread takes several times a second. Invariants: a worker never waits for the
//! sink: lines for which its buffer has no room are dropped and counted. The lines of one worker are in the order in which its requests ended.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::Duration;

use super::combined;
use super::json_line::{self, LineDate};
use super::locks::lock;
use super::lost_lines::LostLines;
use super::sink::{AccessSink, OpenSink};
use crate::domain::Time;
use crate::json::requests::RequestView;
use crate::{clock, lifecycle};

/// The most bytes that wait in the buffer of one worker.
const WAITING_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The number of bytes from which on the thread is woken before its time. Fewer cost more changes of threads and system calls; more no longer
/// fit into the cache of a core.
const WAKE_BYTES: usize = 256 * 1024;
/// The room that a buffer keeps. It is above the number that wakes the thread, because lines are added until it has come.
const KEPT_BYTES: usize = 2 * WAKE_BYTES;
/// The time after which waiting lines are written.
const FLUSH_EVERY: Duration = Duration::from_millis(200);
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
    buffers: Box<[WorkerBuffer]>,
    lost: Arc<LostLines>,
    reopens: AtomicBool,
    closes: AtomicBool,
}

/// The buffer of one worker. Aligned to cache lines of its own, so that no worker writes to those of another.
#[derive(Default)]
#[repr(align(128))]
struct WorkerBuffer(Mutex<AccessBuffer>);

#[derive(Default)]
struct AccessBuffer {
    bytes: Vec<u8>,
    json_date: LineDate,
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
            buffers: (0..workers.max(1)).map(|_| WorkerBuffer::default()).collect(),
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

    /// Opens the file again, once the lines that wait are in the old one.
    pub fn reopen(&self) {
        self.shared.reopens.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Writes the lines that wait, and ends. Takes a second at most.
    pub fn finish(&self) {
        self.close();
        let _ = lock(&self.written).recv_timeout(LAST_LINES_MAX);
    }

    fn close(&self) {
        self.shared.closes.store(true, Ordering::Release);
        self.thread.unpark();
    }

    /// Adds the line of a request that a worker has finished.
    pub(super) fn write(&self, worker: usize, request: &RequestView<'_>) {
        let buffers = &self.shared.buffers;
        let Some(WorkerBuffer(buffer)) = worker.checked_rem(buffers.len()).and_then(|index| buffers.get(index)) else {
            return;
        };
        let mut buffer = lock(buffer);
        let before = buffer.bytes.len();
        if before >= WAITING_BYTES_MAX {
            drop(buffer);
            return self.shared.lost.add(1, clock::now());
        }
        buffer.add(self.settings.line, request);
        let wakes = before < WAKE_BYTES && buffer.bytes.len() >= WAKE_BYTES;
        drop(buffer);
        if wakes {
            self.thread.unpark();
        }
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

impl AccessBuffer {
    fn add(&mut self, line: LogLine, request: &RequestView<'_>) {
        match line {
            LogLine::Json => {
                json_line::write_line(&mut self.bytes, request, &mut self.json_date);
            }
            LogLine::Combined => {
                self.look_at(request.time);
                combined::write_line(&mut self.bytes, request, &self.date);
            }
        }
    }

    fn look_at(&mut self, time: Time) {
        let second = time.0 / 1000;
        if self.second != second {
            (self.second, self.date) = (second, time.log_date());
        }
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
        let mut chunk = Vec::new();
        loop {
            // Read before the lines, so that those that came before are still written.
            let closes = self.shared.closes.load(Ordering::Acquire);
            let reopens = self.shared.reopens.swap(false, Ordering::AcqRel);
            self.flush(&mut chunk);
            if reopens {
                self.sink.reopen();
            }
            if closes {
                self.shared.lost.threads.fetch_sub(1, Ordering::Relaxed);
                return self.shared.lost.warn();
            }
            self.shared.lost.warn_if_due(clock::now());
            thread::park_timeout(FLUSH_EVERY);
        }
    }

    /// Writes the lines that wait.
    fn flush(&mut self, chunk: &mut Vec<u8>) {
        for WorkerBuffer(buffer) in &self.shared.buffers {
            std::mem::swap(chunk, &mut lock(buffer).bytes);
            if !chunk.is_empty() {
                let lost = self.sink.put(chunk) as u64;
                if lost > 0 {
                    self.shared.lost.add(lost, clock::now());
                }
            }
            chunk.clear();
            chunk.shrink_to(KEPT_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::THREADS_MAX;
    use crate::json::requests::RequestView;
    use crate::request_log::json_line::tests::bare;
    use crate::request_log::{AccessLogSettings, AccessSink, LogLine, RequestLog};

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
        let access = requests.open_access_log(settings(&path), 1).unwrap();
        let long = "x".repeat(100_000);
        let request = RequestView { path: long.as_str().into(), ..bare("") };
        (0..100).for_each(|_| access.write(0, &request));
        let lost = requests.lost_lines();
        assert!(lost > 0);
        drop(access);
        let _other = requests.open_access_log(settings("/dev/null"), 1).unwrap();
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
