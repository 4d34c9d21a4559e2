//! The sinks of standard output and standard error: one for the whole process, because the log and the access log may both write there.
//!
//! Invariants: streams that are one file, pipe or terminal (`2>&1`) have one sink.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{LineSink, SharedSink};

/// The device and the number of a file.
type FileIdentity = (u64, u64);

/// The sinks of the standard streams that are in use: two at most.
static SINKS: Mutex<Vec<(FileIdentity, SharedSink)>> = Mutex::new(Vec::new());

/// Returns the sink of a standard stream.
///
/// # Errors
/// If the stream is closed, or the system has no room for another descriptor.
pub fn standard_sink(stream: impl AsFd) -> io::Result<SharedSink> {
    // A descriptor of its own: the library holds a lock on its streams while a write waits.
    let file = File::from(stream.as_fd().try_clone_to_owned()?);
    let identity = identity(&file)?;
    let mut sinks = sinks();
    if let Some(sink) = of(&sinks, identity) {
        return Ok(sink);
    }
    let sink = LineSink::new(file, false).shared();
    sinks.push((identity, Arc::clone(&sink)));
    Ok(sink)
}

/// Returns the sink of the standard stream that is the same file, pipe or terminal as `file`. The two must not write to a regular file apart: a
/// stream that was not opened for appending would write over the lines at its end.
pub fn standard_sink_like(file: &File) -> Option<SharedSink> {
    of(&sinks(), identity(file).ok()?)
}

impl LineSink<File> {
    /// Returns true if both write to the same file.
    pub fn is_same_file(&self, other: &Self) -> bool {
        identity(&self.to).ok().is_some_and(|own| identity(&other.to).ok() == Some(own))
    }
}

fn of(sinks: &[(FileIdentity, SharedSink)], identity: FileIdentity) -> Option<SharedSink> {
    sinks.iter().find(|(known, _)| *known == identity).map(|(_, sink)| Arc::clone(sink))
}

fn sinks() -> MutexGuard<'static, Vec<(FileIdentity, SharedSink)>> {
    // No code panics while it holds the lock.
    SINKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn identity(file: &File) -> io::Result<FileIdentity> {
    file.metadata().map(|found| (found.dev(), found.ino()))
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::thread;

    use super::super::lock;
    use super::*;

    #[test]
    fn lines_of_several_writers_to_one_pipe_stay_whole() {
        let (reader, writer) = io::pipe().unwrap();
        let sinks = [standard_sink(&writer).unwrap(), standard_sink(writer.try_clone().unwrap()).unwrap()];
        let like = standard_sink_like(&File::from(std::os::fd::OwnedFd::from(writer.try_clone().unwrap())));
        assert!(Arc::ptr_eq(&sinks[0], &sinks[1]) && Arc::ptr_eq(&sinks[0], &like.unwrap()));
        let written = 50;
        let threads = sinks.into_iter().zip(["a", "b"]).map(|(sink, letter)| {
            // Longer than what a pipe takes in one piece.
            let line = format!("{}\n", letter.repeat(10_000));
            thread::spawn(move || (0..written).for_each(|_| assert_eq!(lock(&sink).put(line.as_bytes()), 0)))
        });
        let threads: Vec<_> = threads.collect();
        let lines = BufReader::new(reader).lines().take(2 * written).map(Result::unwrap);
        assert!(lines.into_iter().all(|line| line == "a".repeat(10_000) || line == "b".repeat(10_000)));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn a_path_to_the_file_of_a_stream_leads_to_its_sink_and_other_files_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        let sink = standard_sink(File::create(&path).unwrap()).unwrap();
        assert_eq!(lock(&sink).put(b"log\n"), 0);
        let named = File::options().append(true).open(&path).unwrap();
        assert_eq!(lock(&standard_sink_like(&named).unwrap()).put(b"access\n"), 0);
        assert_eq!(lock(&sink).put(b"more\n"), 0);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "log\naccess\nmore\n");
        assert!(standard_sink_like(&tempfile::tempfile().unwrap()).is_none());
    }
}
