//! Looks at a database without serving it: for a backup, and before a backup is put in its place.
//!
//! Invariant: nothing that a database holds is changed here.

use std::fs::{File, OpenOptions};
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};
use sqlx::{ConnectOptions as _, Connection as _};

use super::location::{self, DbLocation};
use super::open;
use super::open_error::OpenError;

/// The facts that a database tells of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFacts {
    /// The name of the store, which its backups share; empty before schema 11.
    pub identity: String,
    /// The version of its schema.
    pub schema: i64,
    /// The registry's revision.
    pub revision: u64,
    /// The number of sessions.
    pub sessions: u64,
    /// The number of active routes.
    pub routes: u64,
}

/// The database in the place of which another one is to be put.
#[derive(Debug)]
pub enum PresentStore {
    /// There is none, or an empty file.
    None,
    /// A database that a server could use, without a log beside it.
    Usable(StoreFacts),
    /// A file that no server can use, with the reason. It may have a log beside it.
    Unusable(String),
}

const FACTS: &str = "select (select max(version) from _sqlx_migrations), revision, \
     (select count(*) from session), (select count(*) from active where section = 'routes') from registry";
const IDENTITY: &str = "select identity from registry";

/// Checks a database that nobody has open, and that has no log beside it.
///
/// # Errors
/// If it is damaged, foreign or too new.
pub async fn examine(path: &Path) -> Result<StoreFacts, OpenError> {
    if location::length(path) == 0 {
        return Err(OpenError::Corrupt { path: path.to_owned(), why: "it is empty".to_owned() });
    }
    open::inspect(path).await?;
    facts(path).await
}

async fn facts(path: &Path) -> Result<StoreFacts, OpenError> {
    let place = DbLocation::File(path.to_owned());
    let explain = |error| open::explain(&place, error);
    let options = open::options().filename(path).read_only(true).immutable(true);
    let mut connection = options.connect().await.map_err(explain)?;
    let row = sqlx::query_as::<_, (i64, i64, i64, i64)>(FACTS).fetch_one(&mut connection).await;
    let (schema, revision, sessions, routes) = row.map_err(explain)?;
    // An older schema has no such column.
    let identity = sqlx::query_scalar(IDENTITY).fetch_one(&mut connection).await.unwrap_or_default();
    connection.close().await.map_err(explain)?;
    let [revision, sessions, routes] = [revision, sessions, routes].map(i64::cast_unsigned);
    Ok(StoreFacts { identity, schema, revision, sessions, routes })
}

/// Looks at the database at `path`, and moves its log into it if it is whole.
///
/// # Errors
/// If a server has it open, or it belongs to another program, or may not be read and written.
pub async fn settle(path: &Path) -> Result<PresentStore, OpenError> {
    match open::inspect(path).await {
        Ok(()) if location::length(path) == 0 => Ok(PresentStore::None),
        Ok(()) | Err(OpenError::Newer { .. }) => {
            let place = DbLocation::File(path.to_owned());
            let explain = |error| open::explain(&place, error);
            let connection = open::connect(&place).await.map_err(explain)?;
            connection.close().await.map_err(explain)?;
            Ok(match facts(path).await {
                Ok(facts) => PresentStore::Usable(facts),
                Err(error) => PresentStore::Unusable(error.to_string()),
            })
        }
        Err(error @ (OpenError::Corrupt { .. } | OpenError::StaleLog { .. } | OpenError::Database { .. })) => {
            Ok(PresentStore::Unusable(error.to_string()))
        }
        Err(error) => Err(error),
    }
}

/// Keeps every other process from opening a database, as long as it is held.
///
/// Closing any other descriptor of the same file in this process would end it (POSIX locks).
#[derive(Debug)]
pub struct FileLock {
    /// The locked file.
    pub file: File,
}

/// Locks the whole file of a database, which conflicts with every lock that `SQLite` takes.
///
/// # Errors
/// If another process has it open, or it may not be written.
pub fn lock(path: &Path) -> Result<FileLock, OpenError> {
    let access = |why: std::io::Error| OpenError::Access { path: path.to_owned(), why: why.to_string() };
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(access)?;
    match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(FileLock { file }),
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::ACCESS) => Err(OpenError::InUse(path.to_owned())),
        Err(error) => Err(access(error.into())),
    }
}
