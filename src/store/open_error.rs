//! The reasons why a database cannot be opened, in words for the person who starts the server.

use std::path::PathBuf;

use sqlx::migrate::MigrateError;

/// The reason why the database cannot be opened. Its message names the file and the cure.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no database.
    #[error("`{0}` is no database; write sqlite://signalbox.db, or sqlite::memory: to keep nothing")]
    Url(String),
    /// The file's directory does not exist.
    #[error("{}: there is no directory `{}`; create it, or name another file", path.display(), directory.display())]
    NoDirectory {
        /// The file.
        path: PathBuf,
        /// The directory.
        directory: PathBuf,
    },
    /// The file may not be read or written.
    #[error(
        "{}: cannot be opened for reading and writing ({why}); check the owner and permissions of the file and \
         of its directory",
        path.display()
    )]
    Access {
        /// The file.
        path: PathBuf,
        /// The system's message.
        why: String,
    },
    /// Another process has the file open.
    #[error("{}: is in use by another process; stop that one, or give this one a file of its own", .0.display())]
    InUse(PathBuf),
    /// Another server waits for the file already.
    #[error("{}: another server waits for it already; only one can be the next", .0.display())]
    AwaitedTwice(PathBuf),
    /// The file is damaged or no database.
    #[error(
        "{}: is damaged, or no database at all ({why}), and was left as it is; restore it from a backup, or move \
         it away to begin with an empty registry",
        path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The damage.
        why: String,
    },
    /// Another program owns the file.
    #[error("{}: is the database of another program, and was left as it is; name another file", .0.display())]
    Foreign(PathBuf),
    /// A newer version wrote the file.
    #[error(
        "{}: was written by a newer version of this program (schema {found}, this one knows schema {known}), and \
         was left as it is; run the newer version, or restore the backup made before it",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema of the file.
        found: i64,
        /// The newest schema that this version knows.
        known: i64,
    },
    /// The schema could not be brought up to date.
    #[error("{place}: its schema cannot be brought up to date: {why}")]
    Migrate {
        /// The database.
        place: String,
        /// `SQLite`'s message.
        why: MigrateError,
    },
    /// The log belongs to another file.
    #[error(
        "{}: the log beside it ({}) belongs to another database file, as after a restored backup; both were left as \
         they are: move the log away to start with this file as it is, or put back the file that the log belongs to",
        path.display(), log.display()
    )]
    StaleLog {
        /// The database's file.
        path: PathBuf,
        /// The log beside it.
        log: PathBuf,
    },
    /// Any other failure.
    #[error("{place}: cannot be opened: {why}")]
    Database {
        /// The database.
        place: String,
        /// `SQLite`'s message.
        why: sqlx::Error,
    },
}
