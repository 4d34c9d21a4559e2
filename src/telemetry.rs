//! The log on standard error: plain text on a terminal, else JSON lines. Standard output is for the user.
//!
//! Lines go through a bounded queue to one writing thread. Invariants: logging never waits for standard error and
//! never fails with it; lines that standard error does not accept are dropped and counted, and the count is logged
//! once it accepts lines again.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::mem;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;
use crate::line_sink::{self, LineSink, SharedSink, standard_sink};
use crate::otlp::{LogRecords, RecordLayer};
use crate::{clock, lifecycle};

/// The maximum number of bytes that wait for standard error. Lines beyond it are dropped.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The maximum number of lines that wait for standard error.
const WAITING_LINES_MAX: usize = 16_384;
/// The interval at which the number of dropped lines is reported again.
const RETRY: Duration = Duration::from_secs(1);
/// The maximum time for the last lines when the process ends.
const LAST_LINES_MAX: Duration = Duration::from_secs(1);

/// The log. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Log(Arc<LogQueue>, RecordLayer);

#[derive(Debug, Default)]
struct LogQueue {
    state: Mutex<LogQueueState>,
    changed: Condvar,
    filter: OnceLock<FilterSwitch>,
}

/// Replaces the filter of the running log.
struct FilterSwitch(Box<dyn Fn(EnvFilter) + Send + Sync>);

impl fmt::Debug for FilterSwitch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("FilterSwitch")
    }
}

#[derive(Debug, Default)]
struct LogQueueState {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// The number of lines that were dropped and not reported yet.
    dropped: u64,
    /// The number of lines that were dropped since the start.
    dropped_ever: u64,
    /// True if the writing thread has taken lines and is not done with them.
    is_writing: bool,
    format: Option<LogFormat>,
}

impl Log {
    /// Starts the thread that writes to standard error.
    ///
    /// # Errors
    /// If the system has no room for another thread or descriptor.
    pub fn open() -> io::Result<Self> {
        Self::to(standard_sink(io::stderr())?)
    }

    fn to(sink: SharedSink<impl Write + Send + 'static>) -> io::Result<Self> {
        let log = Self(Arc::default(), RecordLayer::default());
        let queue = Arc::clone(&log.0);
        lifecycle::spawn_thread("log".to_owned(), move || queue.write_to(&sink))?;
        Ok(log)
    }

    /// Starts logging, panics included. Must be called once, before anything is logged.
    pub fn start(&self, filter: &str, format: Option<LogFormat>) {
        let by_destination = if io::stderr().is_terminal() { LogFormat::Human } else { LogFormat::Json };
        let format = format.unwrap_or(by_destination);
        self.0.lock().format = Some(format);
        let log = self.clone();
        // The filter was checked when the configuration was read.
        let builder =
            tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(move || log.clone());
        match format {
            LogFormat::Human => {
                let builder = builder.with_ansi(io::stderr().is_terminal()).with_target(false).with_filter_reloading();
                self.0.keep_filter(builder.reload_handle());
                builder.finish().with(self.1.clone()).init();
            }
            LogFormat::Json => {
                let builder = builder.json().flatten_event(true).with_current_span(false).with_span_list(false);
                let builder = builder.with_filter_reloading();
                self.0.keep_filter(builder.reload_handle());
                builder.finish().with(self.1.clone()).init();
            }
        }
        std::panic::set_hook(Box::new(log_panic));
    }

    /// Replaces the filter, from the next line on. Nothing happens before [`Log::start`].
    pub fn set_filter(&self, filter: &str) {
        if let Some(switch) = self.0.filter.get() {
            // The filter was checked when the configuration was read.
            (switch.0)(EnvFilter::new(filter));
        }
    }

    /// Makes a record of each line for a collector, from now on.
    pub fn record_into(&self, records: Arc<LogRecords>) {
        self.1.put_into(records);
    }

    /// Writes a line outside the log: the reason why the process ends.
    pub fn say(&self, line: &str) {
        self.0.push(format!("{line}\n").into_bytes());
    }

    /// Returns the number of lines that were dropped since the start.
    pub fn dropped_lines(&self) -> u64 {
        self.0.lock().dropped_ever
    }

    /// Waits until every line is written or dropped, a second at most.
    pub fn finish(&self) {
        let state = self.0.lock();
        let busy = |state: &mut LogQueueState| state.is_writing || !state.lines.is_empty();
        let _ = self.0.changed.wait_timeout_while(state, LAST_LINES_MAX, busy);
    }
}

/// Accepts whole lines from the log's formatter.
impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl LogQueue {
    fn lock(&self) -> MutexGuard<'_, LogQueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep_filter<S: 'static>(&self, handle: Handle<EnvFilter, S>) {
        // An error would mean that the log has ended.
        let _ = self.filter.set(FilterSwitch(Box::new(move |filter| drop(handle.reload(filter)))));
    }

    fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.lines.len() >= WAITING_LINES_MAX || state.bytes + line.len() > WAITING_BYTES_MAX {
            state.dropped += 1;
            state.dropped_ever += 1;
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        self.changed.notify_all();
    }

    /// Runs the writing thread, until the process ends.
    fn write_to(&self, sink: &Mutex<LineSink<impl Write>>) {
        loop {
            let (lines, dropped, format) = self.take();
            let mut sink = line_sink::lock(sink);
            let mut lost = dropped;
            if lost > 0 && sink.put(&dropped_lines_report(lost, format)) == 0 {
                lost = 0;
            }
            // Blocking here delays nobody: the queue fills, and further lines are dropped.
            let unwritten = lines.iter().map(|line| sink.put(line) as u64).sum::<u64>();
            lost += unwritten;
            drop(sink);
            let mut state = self.lock();
            state.dropped += lost;
            state.dropped_ever += unwritten;
            state.is_writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for lines, or for the next report of dropped ones.
    fn take(&self) -> (VecDeque<Vec<u8>>, u64, LogFormat) {
        let mut state = self.lock();
        while state.lines.is_empty() {
            let (next, waited) = self.changed.wait_timeout(state, RETRY).unwrap_or_else(PoisonError::into_inner);
            state = next;
            if waited.timed_out() && state.dropped > 0 {
                break;
            }
        }
        (state.bytes, state.is_writing) = (0, true);
        let format = state.format.unwrap_or(LogFormat::Human);
        (mem::take(&mut state.lines), mem::take(&mut state.dropped), format)
    }
}

/// Returns the line that reports dropped ones. It bypasses the filter, because readers of the log must know of the
/// gap.
fn dropped_lines_report(dropped: u64, format: LogFormat) -> Vec<u8> {
    let (now, noun) = (clock::now(), if dropped == 1 { "line was" } else { "lines were" });
    let words = format!("{dropped} log {noun} dropped: standard error did not take them");
    match format {
        LogFormat::Human => format!("{now}  WARN {words}\n"),
        LogFormat::Json => format!(
            "{{\"timestamp\":\"{now}\",\"level\":\"WARN\",\"message\":\"{words}\",\"dropped\":{dropped},\
             \"target\":\"signalbox::telemetry\"}}\n"
        ),
    }
    .into_bytes()
}

/// Logs a panic. The library's own hook would wait for standard error.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let (thread, backtrace) = (thread::current(), Backtrace::capture());
    let thread = thread.name().unwrap_or("unnamed");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let words = panic.payload_as_str().unwrap_or("without words");
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(thread, place, words, %backtrace, "a panic");
    } else {
        tracing::error!(thread, place, words, "a panic");
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A standard error that can be full, and that records its lines.
    #[derive(Clone, Default)]
    struct Disk(Arc<(AtomicBool, Mutex<Vec<u8>>)>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.0.load(Ordering::SeqCst) {
                return Err(ErrorKind::StorageFull.into());
            }
            self.0.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_are_not_taken_are_counted_and_told_of_once_there_is_room() {
        let disk = Disk::default();
        let log = Log::to(LineSink::new(disk.clone(), false).shared()).unwrap();
        log.say("first");
        log.finish();
        disk.0.0.store(true, Ordering::SeqCst);
        (0..3).for_each(|_| log.say("lost"));
        log.finish();
        disk.0.0.store(false, Ordering::SeqCst);
        log.say("last");
        log.finish();
        let text = String::from_utf8(disk.0.1.lock().unwrap().clone()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines.first(), lines.last(), lines.len()), (Some(&"first"), Some(&"last"), 3), "{text}");
        assert!(lines[1].contains("3 log lines were dropped"), "{text}");
    }

    #[test]
    fn a_standard_error_that_takes_nothing_holds_nobody_up_and_takes_bounded_memory() {
        struct Stuck(std::sync::mpsc::Receiver<()>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (release, stuck) = std::sync::mpsc::channel();
        let log = Log::to(LineSink::new(Stuck(stuck), false).shared()).unwrap();
        log.say("first");
        // From here on it accepts neither lines nor the report of dropped ones.
        while !log.0.lock().is_writing {
            thread::yield_now();
        }
        (0..3 * WAITING_LINES_MAX).for_each(|_| log.say("x"));
        let state = log.0.lock();
        assert!(state.lines.len() <= WAITING_LINES_MAX && state.bytes <= WAITING_BYTES_MAX);
        assert!(usize::try_from(state.dropped).unwrap() >= WAITING_LINES_MAX);
        drop(release);
    }
}
