//! The reasons why a backup is not restored, in words for the person who restores it.

use std::io;
use std::path::PathBuf;

use crate::store::{OpenError, RenewError};

/// The reason why bytes are not a whole backup that this version can read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveFault {
    /// Something else.
    #[error("is not a backup of Signalbox: it is {0}")]
    Foreign(&'static str),
    /// A part is missing or was changed.
    #[error("is a damaged backup: {0}")]
    Damaged(&'static str),
    /// The end is missing.
    #[error("is a damaged backup: it ends after {0} bytes, before its end")]
    Truncated(u64),
    /// The form is that of a later version.
    #[error(
        "was made by a newer version of this program (Signalbox {version}, format {format}; this one reads format \
         {known}); restore it with that version"
    )]
    NewerFormat {
        /// The version that made it.
        version: String,
        /// Its format.
        format: u64,
        /// The newest format that this version reads.
        known: u64,
    },
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// The database in it cannot be written beside the store.
    #[error("the database in it cannot be written: {0}")]
    Write(io::Error),
}

/// The reason why a backup is not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file is not a whole backup.
    #[error("{}: {fault}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// The fault.
        fault: ArchiveFault,
    },
    /// The file does not open.
    #[error("{}: cannot be read: {why}", path.display())]
    NoFile {
        /// The file.
        path: PathBuf,
        /// The system's message.
        why: io::Error,
    },
    /// The database in the backup has a newer schema.
    #[error(
        "{}: holds a store of a newer version of this program (Signalbox {version}, schema {found}; this one knows schema \
         {known}); restore it with that version", path.display()
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// The version that made it.
        version: String,
        /// The schema in it.
        found: i64,
        /// The newest schema that this version knows.
        known: i64,
    },
    /// The database in the backup is not that of a Signalbox, or damaged.
    #[error("{}: the database in it cannot be used: {why}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// The reason.
        why: String,
    },
    /// The store is in memory.
    #[error("a store in memory (store.url) cannot be restored; name a file, such as --store-url sqlite://signalbox.db")]
    InMemory,
    /// The store in the place has another identity.
    #[error(
        "{}: holds another store than the backup ({sessions} sessions, {routes} routes); to put the backup in its place, \
         and keep this one beside it, add --replace", path.display()
    )]
    OtherStore {
        /// The database.
        path: PathBuf,
        /// The sessions in it.
        sessions: u64,
        /// The active routes in it.
        routes: u64,
    },
    /// The store in the place cannot be used.
    #[error("{why}; to put the backup in its place, and keep that file beside it, add --replace")]
    UnusableStore {
        /// The reason.
        why: String,
    },
    /// The store cannot be looked at, or is in use.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Another restore runs.
    #[error("{}: another restore to this place runs", .0.display())]
    AnotherRestore(PathBuf),
    /// A file cannot be put in its place.
    #[error("{}: {step}: {why}", path.display())]
    Step {
        /// The file.
        path: PathBuf,
        /// The step that failed.
        step: &'static str,
        /// The system's message.
        why: io::Error,
    },
}

impl RestoreError {
    /// Returns the words for a database of a backup that cannot be used.
    pub(super) fn of_database(path: PathBuf, version: &str, error: RenewError) -> Self {
        match error {
            RenewError::Open(OpenError::Newer { found, known, .. }) => {
                Self::NewerSchema { path, version: version.to_owned(), found, known }
            }
            RenewError::Open(OpenError::Foreign(_)) => {
                Self::Database { path, why: "it is the database of another program".to_owned() }
            }
            RenewError::Open(OpenError::Corrupt { why, .. }) => Self::Database { path, why },
            RenewError::Open(OpenError::Migrate { why, .. }) => Self::Database { path, why: why.to_string() },
            RenewError::Open(other) => Self::Database { path, why: other.to_string() },
            RenewError::Load(why) => Self::Database { path, why: why.to_string() },
        }
    }
}
