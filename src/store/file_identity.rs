//! Recognises the database's files, which somebody may delete or replace while they are open.
//!
//! Data that is written to a deleted file is lost when the process ends, so no commit may be acknowledged then.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use super::location::{self, DbLocation};

/// Device and inode.
type Identity = (u64, u64);

/// The files at the time when they were opened; `None` in memory.
#[derive(Debug, Default)]
pub(super) struct DatabaseFiles(Option<KnownFiles>);

#[derive(Debug)]
struct KnownFiles {
    path: PathBuf,
    database: Identity,
    /// `None` until the file exists.
    log: Option<Identity>,
}

impl DatabaseFiles {
    /// Returns the files of a database that is about to be opened.
    pub(super) fn of(place: &DbLocation) -> Self {
        let DbLocation::File(path) = place else { return Self(None) };
        Self(identity(path).ok().map(|database| KnownFiles { path: path.clone(), database, log: None }))
    }

    /// Checks that the database's file is still there.
    ///
    /// # Errors
    /// If it is gone or replaced.
    pub(super) fn look(&self) -> Result<(), Failure> {
        let Some(known) = &self.0 else { return Ok(()) };
        known.compare(&known.path, known.database)
    }

    /// Checks that the database's file and its log are still there.
    ///
    /// # Errors
    /// If one of them is gone or replaced.
    pub(super) fn check_all(&mut self) -> Result<(), Failure> {
        self.look()?;
        let Some(known) = &mut self.0 else { return Ok(()) };
        let log = location::beside(&known.path, "-wal");
        if let Some(before) = known.log {
            return known.compare(&log, before);
        }
        known.log = identity(&log).ok();
        Ok(())
    }

    /// Forgets the log, because a new connection may create another one.
    pub(super) fn forget_log(&mut self) {
        if let Some(known) = &mut self.0 {
            known.log = None;
        }
    }
}

impl KnownFiles {
    fn compare(&self, path: &Path, before: Identity) -> Result<(), Failure> {
        match identity(path) {
            Ok(now) if now == before => Ok(()),
            Ok(_) => Err(Failure::Replaced(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Failure::Deleted(path.to_owned())),
            // The path cannot be read now, which says nothing about the open file.
            Err(_) => Ok(()),
        }
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    path.metadata().map(|about| (about.dev(), about.ino()))
}
