//! Writes whole lines to a file, a pipe or a terminal that may be full, slow or gone.
//!
//! Invariants: a failure never waits for long and is never an error: it returns the number of lines that were lost. A line that was written only
//! in part is ended before the next one.

mod standard;

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

pub use standard::{standard_sink, standard_sink_like};

/// A sink that several threads write to. Lines of one of them never stand inside those of another.
pub type SharedSink<W = File> = Arc<Mutex<LineSink<W>>>;

/// Locks a sink. No code panics while it holds the lock.
pub fn lock<W>(sink: &Mutex<LineSink<W>>) -> MutexGuard<'_, LineSink<W>> {
    sink.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The maximum time that one write waits for a non-blocking descriptor.
const BUSY_MAX: Duration = Duration::from_secs(1);
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// A place that takes lines.
#[derive(Debug)]
pub struct LineSink<W> {
    to: W,
    // True if the last line was written only in part.
    is_torn: bool,
    // True if the last write failed because nobody reads any more.
    has_hung_up: bool,
}

impl<W: Write> LineSink<W> {
    /// Returns a sink that writes to `to`. `is_torn` is true if what was written there before ends within a line.
    pub fn new(to: W, is_torn: bool) -> Self {
        Self { to, is_torn, has_hung_up: false }
    }

    /// Returns the same as a sink for several threads.
    pub fn shared(self) -> SharedSink<W> {
        Arc::new(Mutex::new(self))
    }

    /// Returns true if the last write failed because the reader of a pipe has gone.
    pub fn has_hung_up(&self) -> bool {
        self.has_hung_up
    }

    /// Writes lines, each with its end. Returns the number of those that were not written whole.
    pub fn put(&mut self, lines: &[u8]) -> usize {
        if self.is_torn && self.put_bytes(b"\n").is_err() {
            return count(lines);
        }
        self.is_torn = false;
        let Err(written) = self.put_bytes(lines) else { return 0 };
        let (done, rest) = lines.split_at(written);
        self.is_torn = done.last().is_some_and(|byte| *byte != b'\n');
        count(rest)
    }

    /// Writes all bytes.
    ///
    /// # Errors
    /// The number of bytes that were written before the sink failed.
    fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let (mut written, mut waited) = (0, Duration::ZERO);
        self.has_hung_up = false;
        while written < bytes.len() {
            match self.to.write(bytes.get(written..).unwrap_or_default()) {
                Ok(0) => return Err(written),
                Ok(more) => (written, waited) = (written + more, Duration::ZERO),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A pipe is full, or another process that shares the terminal has made it non-blocking.
                Err(error) if error.kind() == ErrorKind::WouldBlock && waited < BUSY_MAX => {
                    thread::sleep(BUSY_PAUSE);
                    waited += BUSY_PAUSE;
                }
                Err(error) => {
                    self.has_hung_up = error.kind() == ErrorKind::BrokenPipe;
                    return Err(written);
                }
            }
        }
        Ok(())
    }
}

fn count(lines: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', lines).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes and then fails, once.
    struct Failing(Vec<u8>, usize);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.1 == 0 {
                self.1 = usize::MAX;
                return Err(ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.1);
            self.1 -= taken;
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_are_lost_are_counted_and_a_torn_one_is_ended() {
        for (room, lost, left) in
            [(0, 2, "c\n"), (1, 2, "a\nc\n"), (2, 1, "a\nc\n"), (3, 1, "a\nb\nc\n"), (4, 0, "a\nb\nc\n")]
        {
            let mut sink = LineSink::new(Failing(Vec::new(), room), false);
            assert_eq!(sink.put(b"a\nb\n"), lost, "{room}");
            sink.to.1 = usize::MAX;
            assert_eq!(sink.put(b"c\n"), 0);
            assert_eq!(String::from_utf8(sink.to.0).unwrap(), left, "{room}");
        }
    }
}
