//! Holds the database's file still, so that it can be copied while the server goes on.
//!
//! The log is moved into the file, and from then on commits go to the log alone. Invariants: the held file is the database
//! as of one commit; the writer waits for the move of the log, never for the copy.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::registry::HeldFile;

use super::failure::Failure;
use super::open::AUTOCHECKPOINT_PAGES;
use super::statements;

/// The file that copies are read from.
#[derive(Debug, Default)]
pub(super) struct SnapshotFile {
    /// Stays open once it was opened, because closing it would release `SQLite`'s locks on the file (POSIX locks belong to
    /// the process).
    file: Option<Arc<File>>,
    /// True while only the log changes.
    is_held: bool,
}

/// Keeps commits from moving the log into the file.
const KEEP_LOG: &str = "pragma wal_autocheckpoint = 0";
/// Moves the log into the file. The first column is not 0 if something kept it from that.
const MOVE_LOG: &str = "pragma wal_checkpoint(truncate)";

impl SnapshotFile {
    /// Holds the file of the connection, which is at `path`.
    pub(super) async fn hold(&mut self, connection: &mut SqliteConnection, path: PathBuf) -> Result<HeldFile, Failure> {
        sqlx::raw_sql(KEEP_LOG).execute(&mut *connection).await?;
        let (busy, ..): (i64, i64, i64) = sqlx::query_as(MOVE_LOG).fetch_one(&mut *connection).await?;
        if busy != 0 {
            self.release(connection).await;
            return Err(Failure::LogBusy);
        }
        // The new log shows from its beginning which start of the server it belongs to.
        sqlx::query(statements::PROBE).execute(connection).await?;
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => Arc::new(File::open(&path).map_err(sqlx::Error::Io)?),
        };
        let bytes = file.metadata().map_err(sqlx::Error::Io)?.len();
        *self = Self { file: Some(Arc::clone(&file)), is_held: true };
        Ok(HeldFile { file, bytes, path })
    }

    /// Lets commits change the file again. Returns true if nothing has changed it since it was held.
    pub(super) async fn release(&mut self, connection: &mut SqliteConnection) -> bool {
        let was_held = std::mem::take(&mut self.is_held);
        let text = format!("pragma wal_autocheckpoint = {AUTOCHECKPOINT_PAGES}");
        // Safe: the text consists of words of the program.
        let is_reset = sqlx::raw_sql(AssertSqlSafe(text)).execute(connection).await.is_ok();
        was_held && is_reset
    }

    /// Ends the hold, because another connection may have changed the file.
    pub(super) fn forget(&mut self) {
        self.is_held = false;
    }
}
