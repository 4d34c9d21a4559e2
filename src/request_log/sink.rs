//! The place that the access log is written to: a file that is opened again when it was renamed, or a standard stream.
//!
//! Invariants: a named pipe that nobody reads does not hold up the thread: its lines are lost, and counted, until somebody does.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::line_sink::LineSink;

/// The permissions of a new file: queries and addresses are not for everybody.
const MODE: u32 = 0o640;

/// The place that the access log is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessSink {
    /// A file, to whose end is written.
    File(PathBuf),
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// A sink that is open, or was.
pub(super) struct OpenSink {
    place: AccessSink,
    open: Option<LineSink<File>>,
}

impl OpenSink {
    /// Opens a sink.
    ///
    /// # Errors
    /// If it cannot be opened. A named pipe without a reader is no error.
    pub(super) fn open(place: AccessSink) -> io::Result<Self> {
        let open = open(&place)?;
        Ok(Self { place, open })
    }

    /// Opens the file again: another process may have renamed it. It goes on with the old one if it cannot.
    pub(super) fn reopen(&mut self) {
        match open(&self.place) {
            Ok(open) => self.open = open,
            Err(error) => {
                tracing::error!(file = ?self.place, %error, "the access log cannot be opened again; it goes on in the file that is open");
            }
        }
    }

    /// Writes lines. Returns the number of those that were lost.
    pub(super) fn put(&mut self, lines: &[u8]) -> usize {
        if self.open.is_none() {
            self.open = open(&self.place).ok().flatten();
        }
        let Some(sink) = &mut self.open else { return memchr::memchr_iter(b'\n', lines).count() };
        let lost = sink.put(lines);
        if lost > 0 && matches!(&self.place, AccessSink::File(path) if is_pipe(path)) {
            // Its reader may have gone, and another may come.
            self.open = None;
        }
        lost
    }
}

fn open(place: &AccessSink) -> io::Result<Option<LineSink<File>>> {
    let file = match place {
        AccessSink::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        AccessSink::Stderr => File::from(io::stderr().as_fd().try_clone_to_owned()?),
        AccessSink::File(path) => {
            let mut options = OpenOptions::new();
            // Without it the opening of a named pipe would wait for its reader.
            options.append(true).create(true).mode(MODE).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
            match options.open(path) {
                Ok(file) => file,
                Err(error) if error.kind() != ErrorKind::NotFound && is_pipe(path) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    };
    Ok(Some(LineSink::new(file)))
}

fn is_pipe(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_fifo())
}
