//! Conversion of waiting maintenance requests to rows of `pending` and back.

use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use crate::domain::{PageUrl, Pending, PendingKind, SessionKey, Target, Ticket};

use super::value::{RowError, Value};

/// The number of columns: session, ticket, exits, page, targets.
pub(super) const COLUMNS: usize = 5;
/// The number of key columns, which are the first ones.
pub(super) const KEY_COLUMNS: usize = 2;

/// Returns the key of a request.
pub(super) fn place(key: SessionKey, ticket: Ticket) -> [Value; KEY_COLUMNS] {
    [Value::Int(key.0.cast_signed()), Value::Int(ticket.0.cast_signed())]
}

/// Returns the row of a request.
pub(super) fn row(key: SessionKey, pending: &Pending) -> [Value; COLUMNS] {
    let [session, ticket] = place(key, pending.ticket);
    let exits = Value::Int((pending.kind == PendingKind::Exit).into());
    let page = pending.page.as_ref().map_or(Value::Null, |page| Value::text(page.as_str()));
    let targets: Vec<String> = pending.targets.iter().map(Target::to_string).collect();
    [session, ticket, exits, page, Value::text(&targets.join(","))]
}

/// Returns the request that a row was made of.
pub(super) fn pending(row: &SqliteRow) -> Result<Pending, RowError> {
    let kind = match row.try_get::<i64, _>("exits")? {
        0 => PendingKind::Enter,
        1 => PendingKind::Exit,
        other => return Err(format!("exits is {other}, not 0 or 1").into()),
    };
    let targets = row.try_get::<&str, _>("targets")?.split(',').map(str::parse).collect::<Result<Vec<Target>, _>>()?;
    Ok(Pending {
        ticket: Ticket(row.try_get::<i64, _>("ticket")?.cast_unsigned()),
        kind,
        targets: targets.into(),
        page: row.try_get::<Option<&str>, _>("page")?.map(PageUrl::parse).transpose()?,
    })
}
