//! Watches files that others replace: certificates, keys and the configuration.
//!
//! A file is found through directories and links, and each of them can be replaced: the file is written or renamed,
//! a link on the way is set anew (`..data` of Kubernetes), a directory is swapped. So every step of the way is watched
//! in its directory. The watch only wakes its owner; [`FileVersions`] decides from the contents. Invariants: a change
//! wakes the owner within a second where the system reports changes, and within [`POLL_EVERY`] everywhere; reading a
//! file wakes nobody.

mod steps;
mod versions;

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

pub use versions::{FileVersions, Version};

/// The interval at which the owner looks even if nothing was reported: file systems of other machines report nothing.
pub const POLL_EVERY: Duration = Duration::from_secs(30);
/// The time without a further change after which the owner is woken, so that files written one after the other are
/// read together.
const SETTLED: Duration = Duration::from_millis(200);
/// The number of changes that are waited for at most.
const SETTLING_MAX: usize = 4;

/// A watch of files.
#[derive(Debug)]
pub struct FileWatch {
    /// `None` where the system gives no notices.
    watcher: Option<RecommendedWatcher>,
    signal: Arc<Signal>,
    /// The watched directories with the identity that each had.
    directories: BTreeMap<PathBuf, (u64, u64)>,
}

/// The state that the thread of the watcher shares with the owner.
#[derive(Debug, Default)]
struct Signal {
    /// The entries of directories whose change is of interest.
    entries: Mutex<BTreeSet<PathBuf>>,
    /// The directories of which every entry is of interest.
    folders: Mutex<BTreeSet<PathBuf>>,
    changed: Notify,
}

impl FileWatch {
    /// Creates a watch without files.
    pub fn new() -> Self {
        Self { watcher: None, signal: Arc::default(), directories: BTreeMap::new() }
    }

    /// Watches `files` in place of those before, along the directories and links that lead to them now. To miss nothing,
    /// read the files after this.
    /// With `folder`, every entry of that directory is watched too.
    pub fn set<'a>(&mut self, files: impl IntoIterator<Item = &'a Path>, folder: Option<&'a Path>) {
        let folders: BTreeSet<PathBuf> = folder.and_then(|folder| folder.canonicalize().ok()).into_iter().collect();
        let entries: BTreeSet<PathBuf> = files.into_iter().chain(folder).flat_map(steps::steps).collect();
        let directories: BTreeMap<PathBuf, (u64, u64)> = entries
            .iter()
            .filter_map(|entry| entry.parent())
            .chain(folders.iter().map(PathBuf::as_path))
            .filter_map(|directory| Some((directory.to_owned(), identity(directory)?)))
            .collect();
        *self.signal.entries.lock().unwrap_or_else(PoisonError::into_inner) = entries;
        *self.signal.folders.lock().unwrap_or_else(PoisonError::into_inner) = folders;
        if self.directories != directories {
            self.directories = directories;
            self.watch_directories();
        }
    }

    /// Waits until a watched file may have changed, at most [`POLL_EVERY`]. Cancelling it may lose a notice; look at the
    /// files after every wait.
    pub async fn changed(&self) {
        if timeout(POLL_EVERY, self.signal.changed.notified()).await.is_err() {
            return;
        }
        for _ in 0..SETTLING_MAX {
            tokio::select! {
                () = self.signal.changed.notified() => {}
                () = sleep(SETTLED) => return,
            }
        }
    }

    /// Begins anew, because a directory that was replaced keeps its old watch otherwise.
    fn watch_directories(&mut self) {
        let signal = Arc::clone(&self.signal);
        let watcher = notify::recommended_watcher(move |event| {
            if signal.concerns(&event) {
                signal.changed.notify_one();
            }
        });
        let watched = watcher.and_then(|mut watcher| {
            for directory in self.directories.keys() {
                watcher.watch(directory, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        self.watcher = match watched {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                let seconds = POLL_EVERY.as_secs();
                tracing::warn!(%error, "the system reports no changes of files; they are read every {seconds} s instead");
                None
            }
        };
    }
}

impl Default for FileWatch {
    fn default() -> Self {
        Self::new()
    }
}

impl Signal {
    fn concerns(&self, event: &notify::Result<Event>) -> bool {
        // After an error, such as a full queue of the system, anything may have changed.
        let Ok(event) = event else { return true };
        let by_reading = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
        if by_reading {
            return false;
        }
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let concerns = |path: &PathBuf| entries.contains(path) || path.parent().is_some_and(|of| folders.contains(of));
        event.need_rescan() || event.paths.iter().any(concerns)
    }
}

/// Returns the identity of a directory: another one of the same name has another.
fn identity(directory: &Path) -> Option<(u64, u64)> {
    let found = std::fs::metadata(directory).ok()?;
    Some((found.dev(), found.ino()))
}

#[cfg(test)]
mod tests;
