//! Finds out whether a commit that moved no revision is stored, by reading its rows. A commit is stored whole or not
//! at all.

use std::collections::HashSet;

use sqlx::SqliteConnection;

use crate::domain::{Change, Edit, SessionKey};
use crate::registry::AuditBatch;

use super::value::Value;
use super::{config_rows, pending_rows};

const STAGED: &str =
    "select count(*) from staged where session = ? and section = ? and route = ? and name = ? and value is ?";
const STAGED_BY: &str = "select count(*) from staged where session = ?";
const PENDING: &str = "select count(*) from pending where session = ? and ticket = ?";

const AUDITED: &str = "select count(*) from audit where sequence = ?";

/// Returns true if the database is as it is after `changes` and the records of `audit`. This may have been so before
/// the changes too.
pub(super) async fn holds(
    connection: &mut SqliteConnection,
    changes: &[Change],
    audit: &AuditBatch,
) -> Result<bool, sqlx::Error> {
    if let Some(last) = audit.records.last()
        && count(connection, AUDITED, [Value::Int(last.sequence.cast_signed())]).await? == 0
    {
        return Ok(false);
    }
    let mut seen = LaterChanges::default();
    // The last change of each row counts.
    for change in changes.iter().rev() {
        let is_so = match change {
            Change::Stage { key, edit, .. } => !seen.is_first(*key, edit) || is_staged(connection, *key, edit).await?,
            Change::Unstage(key) => {
                let left = seen.staged_since(*key);
                seen.unstaged.insert(*key);
                count(connection, STAGED_BY, [Value::Int(key.0.cast_signed())]).await? == left
            }
            Change::Await(key, request) => {
                let place = pending_rows::place(*key, request.ticket);
                !seen.tickets.insert((*key, request.ticket.0)) || count(connection, PENDING, place).await? == 1
            }
            Change::Complete(key, ticket) => {
                let place = pending_rows::place(*key, *ticket);
                !seen.tickets.insert((*key, ticket.0)) || count(connection, PENDING, place).await? == 0
            }
            // These move the revision or are not stored.
            Change::Record(..)
            | Change::End(_)
            | Change::Apply { .. }
            | Change::Bind(..)
            | Change::Unbind(..)
            | Change::Observed(_)
            | Change::Remember(_)
            | Change::Forget(_)
            | Change::AwaitConfirmation(..)
            | Change::Settle(_) => true,
        };
        if !is_so {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The rows that later changes are about.
#[derive(Default)]
struct LaterChanges {
    staged: HashSet<(SessionKey, String)>,
    unstaged: HashSet<SessionKey>,
    tickets: HashSet<(SessionKey, u64)>,
}

impl LaterChanges {
    /// Returns true if no later change is about the row of `edit`.
    fn is_first(&mut self, key: SessionKey, edit: &Edit) -> bool {
        let [_, section, route, name, _] = config_rows::row(key, edit);
        !self.unstaged.contains(&key) && self.staged.insert((key, format!("{section:?} {route:?} {name:?}")))
    }

    /// Returns the number of rows that a session staged after it had unstaged all.
    fn staged_since(&self, key: SessionKey) -> i64 {
        if self.unstaged.contains(&key) {
            return 0;
        }
        let count = self.staged.iter().filter(|(of, _)| *of == key).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }
}

async fn is_staged(connection: &mut SqliteConnection, key: SessionKey, edit: &Edit) -> Result<bool, sqlx::Error> {
    Ok(count(connection, STAGED, config_rows::row(key, edit)).await? == 1)
}

async fn count<const N: usize>(
    connection: &mut SqliteConnection,
    text: &'static str,
    values: [Value; N],
) -> Result<i64, sqlx::Error> {
    let bound = values.into_iter().fold(sqlx::query_scalar(text), sqlx::query::QueryScalar::bind);
    bound.fetch_one(connection).await
}

#[cfg(test)]
mod tests {
    use super::super::{Sqlite, samples};
    use super::*;
    use crate::domain::Time;
    use crate::registry::Store as _;

    const KEY: SessionKey = SessionKey(1);

    fn stage(id: u32, host: &str) -> Change {
        Change::Stage { key: KEY, edit: samples::route_edit(id, host, "/"), at: Time(0) }
    }

    #[tokio::test]
    async fn a_committed_batch_holds_and_no_other() {
        let batches = [
            vec![stage(1, "a.example")],
            vec![stage(1, "b.example"), stage(2, "c.example")],
            vec![stage(1, "x.example"), stage(1, "d.example")],
            vec![Change::Unstage(KEY)],
            vec![stage(1, "e.example"), Change::Unstage(KEY), stage(3, "f.example"), stage(3, "g.example")],
            vec![stage(4, "h.example"), Change::Unstage(KEY)],
        ];
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        let none = AuditBatch::default();
        for batch in batches {
            let before = holds(store.connection.as_mut().unwrap(), &batch, &none).await.unwrap();
            assert!(!before || batch.len() == 2, "{batch:?}");
            store.commit(&batch, &none, 1).await.unwrap();
            assert!(holds(store.connection.as_mut().unwrap(), &batch, &none).await.unwrap(), "{batch:?}");
        }
    }
}
