//! Conversion of sessions' maintenance to rows of `maintenance` and back.
//!
//! Maintenance is part of a session's record but has a table of its own, because it may have an entry for each route
//! and records are written often. The store remembers the stored maintenance and writes only the difference.
//! Invariant: the remembered maintenance is the committed one.

use std::collections::BTreeMap;

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::domain::{Maintenance, MaintenanceEntry, PageUrl, RouteId, SessionKey, Time};

use super::value::{RowError, Value};

/// The number of columns: session, route, page, entered and `by_operator`.
pub(super) const COLUMNS: usize = 5;
/// The number of key columns, which are the first ones.
pub(super) const KEY_COLUMNS: usize = 2;

/// The stored maintenance of all sessions that have any.
#[derive(Clone, Debug, Default)]
pub(super) struct StoredMaintenance(BTreeMap<SessionKey, Maintenance>);

/// The rows to write for a session.
#[derive(Debug, Default)]
pub(super) struct MaintenanceChanges {
    pub(super) put: Vec<[Value; COLUMNS]>,
    pub(super) dropped: Vec<[Value; KEY_COLUMNS]>,
}

impl StoredMaintenance {
    /// Returns the rows that turn a session's stored maintenance into `now`.
    pub(super) fn difference(&self, key: SessionKey, now: &Maintenance) -> MaintenanceChanges {
        let none = Maintenance::default();
        let kept = self.0.get(&key).unwrap_or(&none);
        let mut difference = MaintenanceChanges::default();
        match (&kept.all, &now.all) {
            (old, new) if old == new => {}
            (_, Some(new)) => difference.put.push(row(key, ALL, Some(new))),
            (_, None) => difference.dropped.push(place(key, ALL)),
        }
        for (RouteId(id), entry) in now.changed_since(kept) {
            match entry {
                Some(entry) => difference.put.push(row(key, id, entry.as_ref())),
                None => difference.dropped.push(place(key, id)),
            }
        }
        difference
    }

    /// Remembers a committed maintenance; `None` for a session that has ended.
    pub(super) fn set(&mut self, key: SessionKey, now: Option<Maintenance>) {
        match now.filter(|now| now.all.is_some() || !now.routes.is_empty()) {
            Some(now) => self.0.insert(key, now),
            None => self.0.remove(&key),
        };
    }

    /// Returns the stored maintenance of a session.
    pub(super) fn of(&self, key: SessionKey) -> Maintenance {
        self.0.get(&key).cloned().unwrap_or_default()
    }

    /// Returns the sessions with maintenance.
    pub(super) fn keys(&self) -> impl Iterator<Item = SessionKey> {
        self.0.keys().copied()
    }

    /// Adds a row that was read.
    pub(super) fn take(&mut self, row: &SqliteRow) -> Result<(), RowError> {
        let key = SessionKey(row.try_get::<i64, _>("session")?.cast_unsigned());
        let route = u32::try_from(row.try_get::<i64, _>("route")?)?;
        let page = row.try_get::<Option<&str>, _>("page")?.map(PageUrl::parse).transpose()?;
        let entered = row.try_get::<Option<i64>, _>("entered")?.map(|moment| Time(moment.cast_unsigned()));
        if page.is_some() && entered.is_none() {
            return Err("a page without an entry".into());
        }
        let by_operator = row.try_get("by_operator")?;
        let entry = entered.map(|entered| MaintenanceEntry { page, entered, by_operator });
        let maintenance = self.0.entry(key).or_default();
        if route == ALL {
            maintenance.all = Some(entry.ok_or("ALL without an entry")?);
        } else {
            maintenance.routes.insert(RouteId(route), entry);
        }
        Ok(())
    }
}

/// The route number of the entry for all routes.
const ALL: u32 = 0;

fn place(key: SessionKey, route: u32) -> [Value; KEY_COLUMNS] {
    [Value::Int(key.0.cast_signed()), Value::Int(route.into())]
}

fn row(key: SessionKey, route: u32, entry: Option<&MaintenanceEntry>) -> [Value; COLUMNS] {
    let [session, route] = place(key, route);
    let page = entry.and_then(|entry| entry.page.as_ref()).map_or(Value::Null, |page| Value::text(page.as_str()));
    let entered = entry.map_or(Value::Null, |entry| Value::Int(entry.entered.0.cast_signed()));
    let by_operator = Value::Int(entry.is_some_and(|entry| entry.by_operator).into());
    [session, route, page, entered, by_operator]
}

#[cfg(test)]
mod tests {
    use super::super::{Sqlite, load};

    #[tokio::test]
    async fn a_row_that_means_nothing_is_an_error_that_names_it() {
        for (row, words) in [
            ("(7, 0, null, 1)", "table maintenance, session 7: there is no such session"),
            ("(7, 0, null, null)", "table maintenance, session 7, route 0: ALL without an entry"),
            ("(7, 3, 'http://p/', null)", "table maintenance, session 7, route 3: a page without an entry"),
        ] {
            let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
            let connection = store.connection.as_mut().unwrap();
            let insert = format!("insert into maintenance (session, route, page, entered) values {row}");
            sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(&mut *connection).await.unwrap();
            assert_eq!(load::load(connection).await.unwrap_err().to_string(), words);
        }
    }
}
