//! The hand-over of a database from the server that stops to the next one, which was started before.
//!
//! The next server locks a file beside the database for as long as it waits and starts, so that the old one knows of it.
//! Invariants: at most one server waits for a database; the lock ends with its process, however that ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::PathBuf;

use super::location::{self, DbLocation};
use super::open_error::OpenError;

/// The claim of the next server on a database. Drop it once that server serves.
#[derive(Debug)]
pub struct SuccessorClaim {
    path: PathBuf,
    /// Holds the lock.
    _locked: File,
}

impl SuccessorClaim {
    /// Claims the database at `url`; `None` if it is in memory.
    ///
    /// # Errors
    /// If another server waits for it, or the file beside it cannot be made.
    pub fn take(url: &str) -> Result<Option<Self>, OpenError> {
        let DbLocation::File(database) = DbLocation::parse(url)? else { return Ok(None) };
        let path = location::beside(&database, "-next");
        let access = |why: std::io::Error| OpenError::Access { path: path.clone(), why: why.to_string() };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(access)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { path, _locked: file })),
            Err(TryLockError::WouldBlock) => Err(OpenError::AwaitedTwice(database)),
            Err(TryLockError::Error(why)) => Err(access(why)),
        }
    }
}

impl Drop for SuccessorClaim {
    fn drop(&mut self) {
        // The lock ends in any case.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Returns true while another server waits for the database at `url`, or starts on it.
pub fn has_successor(url: &str) -> bool {
    let Ok(DbLocation::File(database)) = DbLocation::parse(url) else { return false };
    let file = File::open(location::beside(&database, "-next"));
    file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_server_is_known_from_its_claim_to_its_end_and_there_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("s.db").display());
        assert!(!has_successor(&url));
        let claim = SuccessorClaim::take(&url).unwrap().unwrap();
        assert!(has_successor(&url));
        assert!(matches!(SuccessorClaim::take(&url), Err(OpenError::AwaitedTwice(_))));
        drop(claim);
        assert!(!has_successor(&url));
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is left behind");
        assert!(SuccessorClaim::take("sqlite::memory:").unwrap().is_none());
    }
}
