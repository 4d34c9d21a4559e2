//! The place that the access log is written to: a file that is opened again when it was renamed, or a standard stream.
//!
//! Invariants: a named pipe that nobody reads does not hold up the thread: its lines are lost, and counted, until somebody does.
//! A line that an earlier writer left unfinished is ended before the next one.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::locks::lock;
use crate::line_sink::{LineSink, SharedSink, standard_sink, standard_sink_like};

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
    open: Option<SharedSink>,
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
            // The old one knows whether its last line was written to the end.
            Ok(new) if are_one_file(self.open.as_ref(), new.as_ref()) => {}
            Ok(new) => self.open = new,
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
        let Some(sink) = &self.open else { return memchr::memchr_iter(b'\n', lines).count() };
        let (lost, has_hung_up) = {
            let mut sink = lock(sink);
            (sink.put(lines), sink.has_hung_up())
        };
        if has_hung_up && matches!(self.place, AccessSink::File(_)) {
            // The next reader may make a new pipe. One that is only slow keeps its pipe, and is not told that the log has ended.
            self.open = None;
        }
        lost
    }
}

fn open(place: &AccessSink) -> io::Result<Option<SharedSink>> {
    let path = match place {
        AccessSink::Stdout => return standard_sink(io::stdout()).map(Some),
        AccessSink::Stderr => return standard_sink(io::stderr()).map(Some),
        AccessSink::File(path) => path,
    };
    let mut options = OpenOptions::new();
    // Without it the opening of a named pipe would wait for its reader.
    options.append(true).create(true).mode(MODE).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() != ErrorKind::NotFound && is_pipe(path) => return Ok(None),
        Err(error) => return Err(error),
    };
    let of_stream = standard_sink_like(&file);
    Ok(Some(of_stream.unwrap_or_else(|| {
        let is_torn = ends_within_a_line(path, &file);
        LineSink::new(file, is_torn).shared()
    })))
}

fn are_one_file(old: Option<&SharedSink>, new: Option<&SharedSink>) -> bool {
    old.zip(new).is_some_and(|(old, new)| Arc::ptr_eq(old, new) || lock(old).is_same_file(&lock(new)))
}

/// Returns true if the last line of a regular file has no end: the disk was full, or the process was killed.
fn ends_within_a_line(path: &Path, open: &File) -> bool {
    let Some(last) = open.metadata().ok().filter(Metadata::is_file).and_then(|found| found.len().checked_sub(1)) else {
        return false;
    };
    // The file is open only for appending. One that may not be read is taken as whole.
    let mut byte = [b'\n'];
    let _ = File::open(path).and_then(|file| file.read_at(&mut byte, last));
    byte != *b"\n"
}

fn is_pipe(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.file_type().is_fifo())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Command;

    use super::*;

    fn sink(path: &Path) -> OpenSink {
        OpenSink::open(AccessSink::File(path.to_owned())).unwrap()
    }

    fn fifo(folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    }

    fn reader(path: &Path) -> File {
        OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path).unwrap()
    }

    /// Reads what is there now. Panics if the writer has closed the pipe.
    fn read(reader: &mut File) -> String {
        let mut bytes = Vec::new();
        let end = reader.read_to_end(&mut bytes).unwrap_err();
        assert_eq!(end.kind(), ErrorKind::WouldBlock);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_that_an_earlier_writer_left_unfinished_is_ended_before_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for (before, after) in [("", "new\n"), ("whole\n", "whole\nnew\n"), ("half", "half\nnew\n")] {
            std::fs::write(&path, before).unwrap();
            let mut sink = sink(&path);
            sink.reopen();
            assert_eq!(sink.put(b"new\n"), 0);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), after, "{before:?}");
        }
    }

    #[test]
    fn a_reader_of_a_pipe_that_is_only_slow_keeps_it_and_gets_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = fifo(&folder);
        let mut slow = reader(&path);
        let mut sink = sink(&path);
        let line = format!("{}\n", "x".repeat(100_000));
        assert_eq!(sink.put(line.as_bytes()), 1);
        sink.reopen();
        let torn = read(&mut slow);
        assert_eq!(sink.put(b"next\n"), 0);
        assert_eq!((torn.contains('\n'), read(&mut slow).as_str()), (false, "\nnext\n"));
        // One that goes away makes room for another.
        drop(slow);
        assert_eq!(sink.put(b"lost\n"), 1);
        let mut other = reader(&path);
        assert_eq!(sink.put(b"more\n"), 0);
        assert_eq!(read(&mut other), "more\n");
    }
}
