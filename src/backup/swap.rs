//! The steps that put a restored database in the place of another one.
//!
//! Each step is one call of the system. Invariant: after each of them, whatever comes then, the old database or the new one
//! is in its place, whole: one step alone, a rename, goes from one to the other.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// A step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum SwapStep {
    /// Gives the old database a second name.
    Keep { old: PathBuf, kept: PathBuf },
    /// Moves a log that no server can use out of the way.
    MoveLog { log: PathBuf, kept: PathBuf },
    /// Removes a file that only readers of the old database need.
    Remove(PathBuf),
    /// Puts the new database in the place of the old one.
    Replace { new: PathBuf, old: PathBuf },
    /// Makes the names last.
    Sync(PathBuf),
}

/// Returns a path with a suffix.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Plans the steps. `kept` is the name under which the old database stays, if there is one.
pub(super) fn plan(old: &Path, new: &Path, kept: Option<&Path>) -> Vec<SwapStep> {
    let folder = match old.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    };
    let mut steps = Vec::new();
    if let Some(kept) = kept {
        steps.push(SwapStep::Keep { old: old.to_owned(), kept: kept.to_owned() });
        steps.push(SwapStep::MoveLog { log: beside(old, "-wal"), kept: beside(kept, "-wal") });
    }
    steps.push(SwapStep::Remove(beside(old, "-wal")));
    steps.push(SwapStep::Remove(beside(old, "-shm")));
    steps.push(SwapStep::Sync(folder.clone()));
    steps.push(SwapStep::Replace { new: new.to_owned(), old: old.to_owned() });
    steps.push(SwapStep::Sync(folder));
    steps
}

impl SwapStep {
    /// Takes the step.
    pub(super) fn run(&self) -> io::Result<()> {
        let if_there = |done: io::Result<()>| match done {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        };
        match self {
            Self::Keep { old, kept } => fs::hard_link(old, kept),
            Self::MoveLog { log, kept } => if_there(fs::rename(log, kept)),
            Self::Remove(path) => if_there(fs::remove_file(path)),
            Self::Replace { new, old } => fs::rename(new, old),
            Self::Sync(folder) => File::open(folder)?.sync_all(),
        }
    }

    /// Returns the file of the step, and the step in words.
    pub(super) fn words(&self) -> (PathBuf, &'static str) {
        let (path, words) = match self {
            Self::Keep { kept, .. } => (kept, "the old database cannot be kept under this name"),
            Self::MoveLog { kept, .. } => (kept, "the log of the old database cannot be kept under this name"),
            Self::Remove(path) => (path, "cannot be removed"),
            Self::Replace { old, .. } => (old, "the backup cannot be put in its place"),
            Self::Sync(folder) => (folder, "the folder cannot be written to the disk"),
        };
        (path.clone(), words)
    }
}
