//! The reasons why a commit failed.

use std::path::PathBuf;

/// The reason why a commit failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("the database cannot be written: {0}")]
    Database(#[from] sqlx::Error),
    #[error(
        "the database is at revision {found} instead of {expected}; the server ends, and the next start takes it up as it is"
    )]
    Diverged { found: u64, expected: u64 },
    #[error(
        "nothing tells whether a change that was refused is kept; the server ends, and the next start takes the \
         database up as it is"
    )]
    Uncertain,
    #[error(
        "{} was deleted or moved away while it was in use; put it back, or stop the server, restore a copy and start \
         again: what the server has in memory is not kept", .0.display()
    )]
    Deleted(PathBuf),
    #[error(
        "{} is another file than the one that was opened; stop the server before a file is replaced, and start it \
         again with the one it is to use", .0.display()
    )]
    Replaced(PathBuf),
    #[error("the log of the database cannot be moved into its file now")]
    LogBusy,
    #[error("the database is closed")]
    Closed,
}

impl Failure {
    /// Returns true if the commit may be stored nevertheless, because the system failed and not the statement.
    pub(super) fn leaves_open(&self) -> bool {
        match self {
            Self::Database(sqlx::Error::Database(error)) => {
                let code = error.code().and_then(|code| code.parse::<u32>().ok());
                // SQLITE_IOERR: the last byte of all its extended codes.
                code.is_some_and(|code| code & 0xff == 10)
            }
            Self::Database(_) => true,
            Self::Diverged { .. }
            | Self::Uncertain
            | Self::Deleted(_)
            | Self::Replaced(_)
            | Self::LogBusy
            | Self::Closed => false,
        }
    }
}
