//! Opens the database, or explains the failure to the person who starts the server.
//!
//! A file that will not be used stays unchanged byte for byte. It is therefore inspected read-only first, because
//! opening a database in WAL mode, or closing it, can write.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqlStr, SqliteConnection};

use super::file_identity::DatabaseFiles;
use super::location::{self, DbLocation};
use super::open_error::OpenError;

/// The steps from an empty database to the schema of this version: version, description, and statements.
pub(super) const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "registry", include_str!("../../migrations/0001_registry.sql")),
    (2, "registration tokens", include_str!("../../migrations/0002_registration_tokens.sql")),
    (3, "maintenance", include_str!("../../migrations/0003_maintenance.sql")),
    (4, "files and clock", include_str!("../../migrations/0004_files_and_clock.sql")),
    (5, "pending", include_str!("../../migrations/0005_pending.sql")),
    (6, "orders", include_str!("../../migrations/0006_orders.sql")),
    (7, "audit", include_str!("../../migrations/0007_audit.sql")),
    (8, "history", include_str!("../../migrations/0008_history.sql")),
    (9, "leases", include_str!("../../migrations/0009_leases.sql")),
    (10, "owner", include_str!("../../migrations/0010_owner.sql")),
    (11, "identity", include_str!("../../migrations/0011_identity.sql")),
];

pub(super) static MIGRATOR: LazyLock<Migrator> = LazyLock::new(|| {
    let migration = |&(version, description, sql): &(i64, &'static str, &'static str)| {
        Migration::new(version, description.into(), MigrationType::Simple, SqlStr::from_static(sql), false)
    };
    Migrator::with_migrations(MIGRATIONS.iter().map(migration).collect())
});

/// The application id that marks a file as a registry (`SGBX`). The first migration writes it.
const APPLICATION_ID: i32 = 0x5347_4258;

const BUSY_TIMEOUT: Duration = Duration::from_millis(500);

/// The length of the log, in pages, from which a commit moves it into the file.
pub(super) const AUTOCHECKPOINT_PAGES: &str = "2000";

/// Opens the database at `place`. Creates it if necessary and brings its schema up to date.
pub(super) async fn open(place: &DbLocation) -> Result<(SqliteConnection, DatabaseFiles), OpenError> {
    if let DbLocation::File(path) = place {
        location::create(path)?;
    }
    // Taken before the file is read, so that the first commit notices a file that is replaced from here on.
    let files = DatabaseFiles::of(place);
    if let DbLocation::File(path) = place {
        inspect(path).await?;
    }
    let mut connection = connect(place).await.map_err(|error| explain(place, error))?;
    if let DbLocation::File(path) = place {
        // A reader left it behind after a crash. Nobody uses it, because the exclusive lock is ours.
        let _ = std::fs::remove_file(location::beside(path, "-shm"));
        // A backup or a restore that was cut short left them behind.
        [location::backup_copy(path), location::restored_copy(path)]
            .iter()
            .for_each(|copy| location::remove_copy(copy));
    }
    // Not `run`, because its future is not `Send`.
    MIGRATOR.run_direct(None, &mut connection, false).await.map_err(|error| match error {
        MigrateError::Execute(why) | MigrateError::ExecuteMigration(why, _) => explain(place, why),
        why => OpenError::Migrate { place: place.to_string(), why },
    })?;
    if matches!(place, DbLocation::File(_)) {
        mark(&mut connection).await;
    }
    Ok((connection, files))
}

/// Writes a new random incarnation into the file itself, while the file has no log. If that fails, the old one stays.
async fn mark(connection: &mut SqliteConnection) {
    for text in ["pragma journal_mode = delete", MARK, "pragma journal_mode = wal"] {
        if let Err(error) = sqlx::raw_sql(text).execute(&mut *connection).await {
            tracing::debug!(%error, text, "the database file was not marked");
        }
    }
}

/// The incarnation must not be written into a log, so it is written only when there is none.
const MARK: &str = "update registry set incarnation = random() \
     where (select journal_mode from pragma_journal_mode) = 'delete'";
const INCARNATION: &str = "select incarnation from registry";

/// Returns true if the log beside a file was written for another file, or by another start.
async fn has_stale_log(path: &Path) -> bool {
    let (alone, with_log) = (incarnation(path, true).await, incarnation(path, false).await);
    // If one cannot be read, opening the file reports the reason.
    matches!((alone, with_log), (Some(alone), Some(with_log)) if alone != with_log)
}

async fn incarnation(path: &Path, alone: bool) -> Option<i64> {
    let mut connection = options().filename(path).read_only(true).immutable(alone).connect().await.ok()?;
    let found = sqlx::query_scalar(INCARNATION).fetch_one(&mut connection).await.ok();
    let _ = connection.close().await;
    found
}

/// Connects to an existing database.
pub(super) async fn connect(place: &DbLocation) -> Result<SqliteConnection, sqlx::Error> {
    let options = match place {
        DbLocation::Memory => options().in_memory(true),
        DbLocation::File(path) => options().filename(path),
    };
    options
        // Nobody else writes: no shared memory is needed, and a second process is refused.
        .locking_mode(SqliteLockingMode::Exclusive)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", AUTOCHECKPOINT_PAGES)
        .pragma("journal_size_limit", "67108864")
        .pragma("cache_size", "-16384")
        .pragma("temp_store", "memory")
        .statement_cache_capacity(200)
        .row_buffer_size(1024)
        .connect()
        .await
}

pub(super) fn options() -> SqliteConnectOptions {
    SqliteConnectOptions::new().foreign_keys(false).busy_timeout(BUSY_TIMEOUT).disable_statement_logging()
}

/// Checks a file without changing it: it must be undamaged, a registry, and not too new.
pub(super) async fn inspect(path: &Path) -> Result<(), OpenError> {
    let log = location::beside(path, "-wal");
    let stale = OpenError::StaleLog { path: path.to_owned(), log: log.clone() };
    if location::length(path) == 0 {
        return if location::length(&log) == 0 { Ok(()) } else { Err(stale) };
    }
    // Without a log nobody is writing. The file can then be read without locks and without the files that a reader
    // leaves behind.
    let is_at_rest = location::length(&log) == 0;
    if !is_at_rest && has_stale_log(path).await {
        return Err(stale);
    }
    let place = DbLocation::File(path.to_owned());
    let explain = |error| explain(&place, error);
    let options = options().filename(path).read_only(true).immutable(is_at_rest);
    let mut connection = options.connect().await.map_err(explain)?;
    let damage: String =
        sqlx::query_scalar("pragma quick_check(1)").fetch_one(&mut connection).await.map_err(explain)?;
    if damage != "ok" {
        return Err(OpenError::Corrupt { path: path.to_owned(), why: damage });
    }
    let found = schema(&mut connection).await.map_err(explain)?;
    connection.close().await.map_err(explain)?;
    match found {
        FoundSchema::Foreign => Err(OpenError::Foreign(path.to_owned())),
        FoundSchema::Version(found) if found > known() => {
            Err(OpenError::Newer { path: path.to_owned(), found, known: known() })
        }
        FoundSchema::None | FoundSchema::Version(_) => Ok(()),
    }
}

pub(super) fn known() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

enum FoundSchema {
    None,
    Version(i64),
    Foreign,
}

async fn schema(connection: &mut SqliteConnection) -> Result<FoundSchema, sqlx::Error> {
    let id: i32 = sqlx::query_scalar("pragma application_id").fetch_one(&mut *connection).await?;
    if id == APPLICATION_ID {
        let version = sqlx::query_scalar("select coalesce(max(version), 0) from _sqlx_migrations");
        return version.fetch_one(connection).await.map(FoundSchema::Version);
    }
    // An interrupted first start may have created only the table of migrations.
    let others = sqlx::query_scalar("select count(*) from sqlite_schema where tbl_name <> '_sqlx_migrations'");
    let others: i64 = others.fetch_one(connection).await?;
    Ok(if id == 0 && others == 0 { FoundSchema::None } else { FoundSchema::Foreign })
}

/// Explains `SQLite`'s primary result codes (<https://www.sqlite.org/rescode.html>) that people can act on.
pub(super) fn explain(place: &DbLocation, error: sqlx::Error) -> OpenError {
    let code =
        error.as_database_error().and_then(sqlx::error::DatabaseError::code).and_then(|code| code.parse::<u32>().ok());
    let DbLocation::File(path) = place else { return OpenError::Database { place: place.to_string(), why: error } };
    let (path, why) = (path.clone(), error.to_string());
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => OpenError::InUse(path),
        Some(3 | 8 | 14) => OpenError::Access { path, why },
        // SQLITE_IOERR: also the result of locking a file that is open for reading only.
        Some(10) if !location::is_writable(&path) => {
            OpenError::Access { path, why: "this user may not write it".to_owned() }
        }
        Some(11 | 26) => OpenError::Corrupt { path, why },
        _ => OpenError::Database { place: place.to_string(), why: error },
    }
}
