//! Conversion of applies that wait for their confirmation to rows of `confirmation` and back.
//!
//! The configuration to restore is in the history; the routes of a guard follow from the difference to it.

use std::sync::Arc;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::domain::{Config, Confirmation, ConfirmationId, Failures, Guard, SessionKey, Time};
use crate::registry::EntriesRead;

use super::history_rows;
use super::load_error::LoadError;
use super::value::{RowError, Value};

/// The number of columns: session, id, number, previous, until, and the counts of the guard.
pub(super) const COLUMNS: usize = 7;

/// The rows of sessions, with the history of each session's instance.
pub(super) const SELECT: &str = "select confirmation.*, history_of.id as history from confirmation \
     left join session on session.key = confirmation.session left join history_of using (service, instance) \
     where confirmation.session between ? and ?";

/// Returns the row of a confirmation.
pub(super) fn row(key: SessionKey, confirmation: &Confirmation) -> [Value; COLUMNS] {
    let Confirmation { id, number, previous, before: _, until, guard } = confirmation;
    let int = |number: u64| Value::Int(number.cast_signed());
    let count = |count: fn(&Failures) -> u64| guard.as_ref().map_or(Value::Null, |guard| int(count(&guard.before)));
    [
        int(key.0),
        Value::text(id.as_str()),
        int(*number),
        int(*previous),
        int(until.0),
        count(|before| before.requests),
        count(|before| before.failed),
    ]
}

/// Returns the confirmation of a row, with its session.
pub(super) async fn confirmation(
    connection: &mut SqliteConnection,
    row: &SqliteRow,
) -> Result<(SessionKey, Confirmation), LoadError> {
    let session: i64 = row.try_get("session")?;
    let bad = |why: String| LoadError::ConfigRow { place: format!("table confirmation, session {session}"), why };
    let (mut found, history) = parts(row).map_err(|error| bad(error.to_string()))?;
    if found.previous > 0 {
        let read = EntriesRead { history, number: found.previous, after: None, most: usize::MAX };
        let edits = history_rows::entries(connection, &read).await?;
        let edits = edits.ok_or_else(|| bad(format!("revision {} is not kept", found.previous)))?;
        edits.iter().for_each(|edit| found.before.edit(edit));
    }
    Ok((SessionKey(session.cast_unsigned()), found))
}

fn parts(row: &SqliteRow) -> Result<(Confirmation, u64), RowError> {
    let number = |column| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    let count = |column| row.try_get::<Option<i64>, _>(column).map(|count| count.map(i64::cast_unsigned));
    let before = count("guard_requests")?.zip(count("guard_failures")?);
    let guard = before.map(|(requests, failed)| Guard { before: Failures { requests, failed }, routes: Arc::from([]) });
    let confirmation = Confirmation {
        id: ConfirmationId::restore(row.try_get("id")?),
        number: number("number")?,
        previous: number("previous")?,
        before: Config::default(),
        until: Time(number("until")?),
        guard,
    };
    Ok((confirmation, count("history")?.unwrap_or_default()))
}
