//! Makes a database of a backup ready to be used again.
//!
//! Invariants: once it is renewed, every revision that the database gives out is above all that were given out before, the schema is
//! the present one, and everything in it can be read; nothing is left beside it, and all of it is on disk.

use std::fs::File;
use std::path::Path;

use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteJournalMode, SqliteLockingMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::registry::AuditBatch;
use crate::registry::audit::AuditRecord;

use super::load;
use super::load_error::LoadError;
use super::location::DbLocation;
use super::maintenance_rows::StoredMaintenance;
use super::open_error::OpenError;
use super::plan::Plan;
use super::{commit, open};

/// The reason why a database of a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// It cannot be opened, or brought to the present schema.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A new incarnation shows a log of the replaced database to be another's.
const RENEW: &str = "update registry set revision = ?, incarnation = random()";
/// A session may have been at later revisions before the restore; whoever has read one of them must not find it again.
/// Revision 0 stays: it means that a session has applied nothing.
const RENEW_SESSIONS: &str = "update session set revision = revision + 1000000 where revision > 0";

/// Brings a database that nobody has open to the present schema, and reads all of it.
///
/// # Errors
/// If it cannot be used.
pub async fn adopt(path: &Path) -> Result<(), RenewError> {
    let place = DbLocation::File(path.to_owned());
    let explain = |error| open::explain(&place, error);
    let mut connection = connect(path).await.map_err(explain)?;
    open::MIGRATOR.run_direct(None, &mut connection, false).await.map_err(|error| match error {
        MigrateError::Execute(why) | MigrateError::ExecuteMigration(why, _) => explain(why),
        why => OpenError::Migrate { place: place.to_string(), why },
    })?;
    load::load(&mut connection).await?;
    connection.close().await.map_err(explain)?;
    Ok(())
}

/// Sets the revision of a database that was adopted, and adds a record to its audit. All of it is on disk afterwards.
///
/// # Errors
/// If it cannot be written.
pub async fn renew(path: &Path, revision: u64, record: AuditRecord) -> Result<(), RenewError> {
    let place = DbLocation::File(path.to_owned());
    let explain = |error| open::explain(&place, error);
    let mut connection = connect(path).await.map_err(explain)?;
    let last: i64 = sqlx::query_scalar(load::AUDIT_LAST).fetch_one(&mut connection).await.map_err(explain)?;
    let record = AuditRecord { sequence: last.cast_unsigned() + 1, ..record };
    let audit = AuditBatch { records: vec![record], ..AuditBatch::default() };
    let plan = Plan::new(&[], &audit, revision, &StoredMaintenance::default());
    commit::run(&mut connection, plan).await.map_err(explain)?;
    sqlx::query(RENEW).bind(revision.cast_signed()).execute(&mut connection).await.map_err(explain)?;
    sqlx::query(RENEW_SESSIONS).execute(&mut connection).await.map_err(explain)?;
    connection.close().await.map_err(explain)?;
    File::open(path).and_then(|file| file.sync_all()).map_err(|why| explain(sqlx::Error::Io(why)))?;
    Ok(())
}

async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    open::options()
        .filename(path)
        .locking_mode(SqliteLockingMode::Exclusive)
        // Leaves no log beside the file.
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await
}
