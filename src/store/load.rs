//! Reads the stored registry as the changes that rebuild its catalog.
//!
//! No row is skipped: a row that this version cannot read is an error that names the row.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use futures_util::TryStreamExt as _;
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Row as _, SqliteConnection};

use crate::domain::{Change, Edit, Sections, SessionKey, Time};
use crate::registry::{ClockReading, StoredState};

use super::config_rows::{self, ConfigRow};
use super::confirmation_rows;
use super::history_rows;
use super::load_error::LoadError;
use super::maintenance_rows::StoredMaintenance;
use super::pending_rows;
use super::session_rows;

const REVISION: &str = "select revision from registry";
const READING: &str = "select boot, boot_ms, started_ms from registry";
pub(super) const AUDIT_LAST: &str = "select coalesce(max(sequence), 0) from audit";
const SESSIONS: &str = "select * from session where key between ? and ? order by key";
const MAINTENANCE: &str =
    "select session, route, page, entered, by_operator from maintenance where session between ? and ?";
const PENDING: &str = "select session, ticket, exits, page, targets from pending where session between ? and ? \
                       order by session, ticket";
const ACTIVE: &str = "select session, section, route, name, value from active where session between ? and ? \
                      order by session, section, route, name";
const STAGED: &str = "select session, section, route, name, value from staged where session between ? and ? \
                      order by session, section, route, name";

/// The numbers of sessions to read.
type Numbers = RangeInclusive<i64>;

/// All statements that read.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 13] = [
    REVISION,
    READING,
    AUDIT_LAST,
    SESSIONS,
    MAINTENANCE,
    PENDING,
    ACTIVE,
    STAGED,
    confirmation_rows::SELECT,
    history_rows::MARKS,
    history_rows::REVISIONS,
    history_rows::KEPT,
    history_rows::ENTRIES,
];

/// Returns the registry's revision.
pub(super) async fn revision(connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    sqlx::query_scalar::<_, i64>(REVISION).fetch_one(connection).await.map(i64::cast_unsigned)
}

/// Returns the stored registry, and the maintenance of its sessions once more.
pub(super) async fn load(connection: &mut SqliteConnection) -> Result<(StoredState, StoredMaintenance), LoadError> {
    let revision = revision(connection).await?;
    let (mut changes, maintained) = read(connection, &(i64::MIN..=i64::MAX)).await?;
    changes.extend(history_rows::marks(connection).await?);
    let reading = reading(connection).await?;
    let audit_last = sqlx::query_scalar::<_, i64>(AUDIT_LAST).fetch_one(connection).await?.cast_unsigned();
    Ok((StoredState { revision, changes, reading, audit_last }, maintained))
}

/// Returns what is stored of one session, as changes for an empty catalog.
pub(super) async fn session(connection: &mut SqliteConnection, key: SessionKey) -> Result<Vec<Change>, LoadError> {
    let number = key.0.cast_signed();
    read(connection, &(number..=number)).await.map(|(changes, _)| changes)
}

async fn read(
    connection: &mut SqliteConnection,
    numbers: &Numbers,
) -> Result<(Vec<Change>, StoredMaintenance), LoadError> {
    let maintained = maintained(connection, numbers).await?;
    let mut changes = Vec::new();
    let mut keys = BTreeSet::new();
    let mut sessions = select(SESSIONS, numbers).fetch(&mut *connection);
    while let Some(row) = sessions.try_next().await? {
        let (key, change) = record(&row, &maintained)?;
        keys.insert(key);
        changes.push(change);
    }
    drop(sessions);
    if let Some(SessionKey(number)) = maintained.keys().find(|key| !keys.contains(key)) {
        let place = format!("table maintenance, session {number}");
        return Err(LoadError::ConfigRow { place, why: "there is no such session".into() });
    }
    active(connection, numbers, &keys, &mut changes).await?;
    staged(connection, numbers, &keys, &mut changes).await?;
    waiting(connection, numbers, &keys, &mut changes).await?;
    confirming(connection, numbers, &keys, &mut changes).await?;
    Ok((changes, maintained))
}

fn select(text: &'static str, numbers: &Numbers) -> Query<'static, sqlx::Sqlite, SqliteArguments> {
    sqlx::query(text).bind(*numbers.start()).bind(*numbers.end())
}

async fn reading(connection: &mut SqliteConnection) -> Result<ClockReading, LoadError> {
    let row = sqlx::query(READING).fetch_one(connection).await?;
    let number = |column| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    Ok(ClockReading { boot: row.try_get("boot")?, boot_ms: number("boot_ms")?, now: Time(number("started_ms")?) })
}

async fn maintained(connection: &mut SqliteConnection, numbers: &Numbers) -> Result<StoredMaintenance, LoadError> {
    let mut maintained = StoredMaintenance::default();
    let mut rows = select(MAINTENANCE, numbers).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let (session, route): (i64, i64) = (row.try_get("session")?, row.try_get("route")?);
        maintained.take(&row).map_err(|error| LoadError::ConfigRow {
            place: format!("table maintenance, session {session}, route {route}"),
            why: error.to_string(),
        })?;
    }
    Ok(maintained)
}

fn record(row: &SqliteRow, maintained: &StoredMaintenance) -> Result<(SessionKey, Change), LoadError> {
    let number: i64 = row.try_get("key")?;
    let key = SessionKey(number.cast_unsigned());
    let record = session_rows::record(row, maintained.of(key)).map_err(|error| LoadError::ConfigRow {
        place: format!("table session, key {number}"),
        why: error.to_string(),
    })?;
    Ok((key, Change::Record(key, Arc::new(record))))
}

async fn active(
    connection: &mut SqliteConnection,
    numbers: &Numbers,
    keys: &BTreeSet<SessionKey>,
    changes: &mut Vec<Change>,
) -> Result<(), LoadError> {
    let mut edits: Vec<Edit> = Vec::new();
    let mut of = None;
    let mut rows = select(ACTIVE, numbers).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let (key, edit) = entry("active", &row, keys)?;
        if let Some(last) = of.replace(key)
            && last != key
        {
            changes.push(applied(last, &mut edits));
        }
        edits.push(edit);
    }
    changes.extend(of.map(|last| applied(last, &mut edits)));
    Ok(())
}

fn applied(key: SessionKey, edits: &mut Vec<Edit>) -> Change {
    Change::Apply { key, sections: Sections::ALL, edits: edits.drain(..).collect() }
}

async fn staged(
    connection: &mut SqliteConnection,
    numbers: &Numbers,
    keys: &BTreeSet<SessionKey>,
    changes: &mut Vec<Change>,
) -> Result<(), LoadError> {
    let mut rows = select(STAGED, numbers).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let (key, edit) = entry("staged", &row, keys)?;
        // The time is not stored; the catalog sets it when it resumes.
        changes.push(Change::Stage { key, edit, at: Time::default() });
    }
    Ok(())
}

async fn waiting(
    connection: &mut SqliteConnection,
    numbers: &Numbers,
    keys: &BTreeSet<SessionKey>,
    changes: &mut Vec<Change>,
) -> Result<(), LoadError> {
    let mut rows = select(PENDING, numbers).fetch(connection);
    while let Some(row) = rows.try_next().await? {
        let (session, ticket): (i64, i64) = (row.try_get("session")?, row.try_get("ticket")?);
        let bad = |why: String| LoadError::ConfigRow {
            place: format!("table pending, session {session}, ticket {ticket}"),
            why,
        };
        let key = SessionKey(session.cast_unsigned());
        if !keys.contains(&key) {
            return Err(bad("there is no such session".into()));
        }
        changes.push(Change::Await(key, pending_rows::pending(&row).map_err(|error| bad(error.to_string()))?));
    }
    Ok(())
}

async fn confirming(
    connection: &mut SqliteConnection,
    numbers: &Numbers,
    keys: &BTreeSet<SessionKey>,
    changes: &mut Vec<Change>,
) -> Result<(), LoadError> {
    let rows = select(confirmation_rows::SELECT, numbers).fetch_all(&mut *connection).await?;
    for row in rows {
        let (key, confirmation) = confirmation_rows::confirmation(connection, &row).await?;
        if !keys.contains(&key) {
            let place = format!("table confirmation, session {}", key.0);
            return Err(LoadError::ConfigRow { place, why: "there is no such session".into() });
        }
        changes.push(Change::AwaitConfirmation(key, Arc::new(confirmation)));
    }
    Ok(())
}

fn entry(table: &str, row: &SqliteRow, keys: &BTreeSet<SessionKey>) -> Result<(SessionKey, Edit), LoadError> {
    let number: i64 = row.try_get(0)?;
    let key = SessionKey(number.cast_unsigned());
    let parts =
        ConfigRow { section: row.try_get(1)?, route: row.try_get(2)?, name: row.try_get(3)?, value: row.try_get(4)? };
    let bad = |why: String| {
        let ConfigRow { section, route, name, .. } = parts;
        let place = format!("table {table}, session {number}, section {section}, route {route}, name '{name}'");
        LoadError::ConfigRow { place, why }
    };
    if !keys.contains(&key) {
        return Err(bad("there is no such session".into()));
    }
    let edit = config_rows::edit(&parts).map_err(|error| bad(error.to_string()))?;
    Ok((key, edit))
}
