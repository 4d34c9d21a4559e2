//! The access log: a line for each request, written by a thread of its own.
//!
//! Each worker appends its lines to a buffer of its own, which the thread takes several times a second. Invariants: a worker never waits for the
//! sink: lines for which its buffer has no room are dropped and counted. The lines of one worker are in the order in which its requests ended.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, Thread};
use std::time::Duration;

use super::combined;
use super::json_line::{self, LineDate};
use super::locks::lock;
use super::sink::{AccessSink, OpenSink};
use crate::domain::Time;
use crate::json::requests::RequestView;
use crate::lifecycle;

/// The most bytes that wait in the buffer of one worker.
const WAITING_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The number of bytes from which on the thread is woken before its time. A few times as many no longer fit into the cache of a
/// core, and then a write costs the system three times as much for each byte.
const WAKE_BYTES: usize = 64 * 1024;
/// The room that a buffer keeps. It is above the number that wakes the thread, because lines are added until it has come.
const KEPT_BYTES: usize = 2 * WAKE_BYTES;
/// The time after which waiting lines are written.
const FLUSH_EVERY: Duration = Duration::from_millis(200);
/// The flushes after which the number of dropped lines is logged again: ten seconds.
const FLUSHES_PER_REPORT: u32 = 50;
/// The longest time for the last lines.
const LAST_LINES_MAX: Duration = Duration::from_secs(1);

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
    buffers: Box<[Mutex<AccessBuffer>]>,
    dropped: AtomicU64,
    reopens: AtomicBool,
    closes: AtomicBool,
}

#[derive(Default)]
struct AccessBuffer {
    bytes: Vec<u8>,
    dropped: u64,
    json_date: LineDate,
    // The second of the last line and its text, for formats without milliseconds.
    second: u64,
    date: String,
}

impl AccessLog {
    /// Opens the sink and starts the thread, for this number of workers.
    ///
    /// # Errors
    /// If the sink cannot be opened, or the system has no room for another thread.
    pub fn start(settings: AccessLogSettings, workers: usize) -> io::Result<Self> {
        let sink = OpenSink::open(settings.sink.clone())?;
        let shared = Arc::new(SharedLog {
            buffers: (0..workers.max(1)).map(|_| Mutex::default()).collect(),
            dropped: AtomicU64::new(0),
            reopens: AtomicBool::new(false),
            closes: AtomicBool::new(false),
        });
        let (ending, written) = mpsc::channel();
        let writer = AccessLogThread { shared: Arc::clone(&shared), sink, ending };
        let thread = lifecycle::spawn_thread("access log".to_owned(), move || writer.run())?.thread().clone();
        Ok(Self { settings, shared, thread, written: Mutex::new(written) })
    }

    /// Returns its settings.
    pub fn settings(&self) -> &AccessLogSettings {
        &self.settings
    }

    /// Returns the number of lines that were dropped.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
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
        let Some(buffer) = worker.checked_rem(buffers.len()).and_then(|index| buffers.get(index)) else { return };
        let mut buffer = lock(buffer);
        let before = buffer.bytes.len();
        if before >= WAITING_BYTES_MAX {
            buffer.dropped += 1;
            return;
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
        let (mut flushes, mut unreported) = (0, 0);
        loop {
            // Read before the lines, so that those that came before are still written.
            let closes = self.shared.closes.load(Ordering::Acquire);
            let reopens = self.shared.reopens.swap(false, Ordering::AcqRel);
            unreported += self.flush(&mut chunk);
            if reopens {
                self.sink.reopen();
            }
            flushes += 1;
            if unreported > 0 && (closes || flushes >= FLUSHES_PER_REPORT) {
                tracing::warn!(
                    dropped = unreported,
                    "lines of the access log were dropped: its place did not take them"
                );
                (flushes, unreported) = (0, 0);
            }
            if closes {
                return;
            }
            thread::park_timeout(FLUSH_EVERY);
        }
    }

    /// Writes the lines that wait. Returns the number of those that were lost since the last time.
    fn flush(&mut self, chunk: &mut Vec<u8>) -> u64 {
        let mut lost = 0;
        for buffer in &self.shared.buffers {
            {
                let mut buffer = lock(buffer);
                std::mem::swap(chunk, &mut buffer.bytes);
                lost += std::mem::take(&mut buffer.dropped);
            }
            if !chunk.is_empty() {
                lost += self.sink.put(chunk) as u64;
            }
            chunk.clear();
            chunk.shrink_to(KEPT_BYTES);
        }
        self.shared.dropped.fetch_add(lost, Ordering::Relaxed);
        lost
    }
}
