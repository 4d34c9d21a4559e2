//! Conversion of revisions to rows of `history_of`, `history` and `history_entry` and back, and the statements that read
//! them.
//!
//! An entry is one row for as long as its value stays the same, so that a revision writes what it changes. Invariant:
//! the entries of a revision that is kept never change; only their end is set.

use std::net::IpAddr;
use std::sync::Arc;

use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::domain::{Change, Edit, HistoryMark, InstanceName, ServiceName, SessionKey, Time};
use crate::registry::audit::{Actor, ActorKind, Interface};
use crate::registry::revisions::{RevisionAction, RevisionRecord, RevisionView};
use crate::registry::{EntriesRead, RevisionsRead};

use super::config_rows::{self, ConfigRow};
use super::load_error::LoadError;
use super::value::{RowError, Value};

/// The columns of `history`, the key first.
pub(super) const HISTORY_COLUMNS: [&str; 12] = [
    "history",
    "number",
    "revision",
    "at",
    "action",
    "actor_kind",
    "actor",
    "interface",
    "address",
    "reason",
    "reverted_to",
    "changes",
];

/// The histories, those that changed last at the end.
pub(super) const MARKS: &str = "select id, service, instance, min(number) as oldest, max(number) as last from history_of \
     join history on history = id group by id order by max(at)";
/// The revisions before one of them, the latest first.
pub(super) const REVISIONS: &str =
    "select * from history where history = ? and number < ? order by number desc limit ?";
/// One if a revision is kept.
pub(super) const KEPT: &str = "select count(*) from history where history = ? and number = ?";
/// The entries of a revision behind one of them.
pub(super) const ENTRIES: &str = "select section, route, name, value from history_entry where history = ?1 \
     and since <= ?2 and (until is null or until > ?2) and (section, route, name) > (?3, ?4, ?5) \
     order by section, route, name limit ?6";

/// The rows of a revision, in the order in which they are written.
#[derive(Debug, Default)]
pub(super) struct RevisionRows {
    /// The names of a new history.
    pub(super) names: Option<Vec<Value>>,
    /// The end of all entries before.
    pub(super) closed_all: Option<Vec<Value>>,
    /// The ends of the entries that it changes.
    pub(super) closed: Vec<Value>,
    /// The entries that it adds.
    pub(super) put: Vec<Value>,
    /// The place of entries that may go on, because the one before has them too.
    pub(super) repeated: Option<Vec<Value>>,
    /// The revision.
    pub(super) revision: Vec<Value>,
    /// The bound of the revisions that are kept.
    pub(super) pruned: Option<Vec<Value>>,
}

/// Returns the rows of a revision.
pub(super) fn rows(record: &RevisionRecord) -> RevisionRows {
    let RevisionRecord { mark, is_whole, edits, view } = record;
    let (history, number) = (int(mark.id), int(mark.last));
    let names = || vec![history.clone(), Value::text(mark.service.as_str()), Value::text(mark.instance.as_str())];
    let place = vec![number.clone(), history.clone()];
    let mut rows = RevisionRows {
        names: (mark.last == 1).then(names),
        repeated: (*is_whole && mark.last > 1).then(|| [place.clone(), place.clone()].concat()),
        closed_all: is_whole.then_some(place),
        revision: revision(mark, view),
        pruned: (mark.oldest > 1).then(|| vec![history.clone(), int(mark.oldest)]),
        ..RevisionRows::default()
    };
    for edit in edits.iter() {
        let [_, section, route, name, value] = config_rows::row(SessionKey::NONE, edit);
        let key = [history.clone(), section, route, name, number.clone()];
        if value != Value::Null {
            rows.put.extend(key.iter().cloned().chain([value]));
        }
        if !is_whole {
            rows.closed.extend(key);
        }
    }
    rows
}

/// Returns the row of a history that is dropped.
pub(super) fn key(mark: &HistoryMark) -> [Value; 1] {
    [int(mark.id)]
}

fn int(number: u64) -> Value {
    Value::Int(number.cast_signed())
}

fn revision(mark: &HistoryMark, view: &RevisionView) -> Vec<Value> {
    let RevisionView { number, revision, at, action, actor, interface, address, reason, reverted_to, changes } = view;
    let text = |text: &Option<String>| text.as_ref().map_or(Value::Null, |text| Value::text(text));
    vec![
        int(mark.id),
        int(*number),
        int(*revision),
        int(at.0),
        Value::text(action.name()),
        Value::text(actor.kind.name()),
        Value::text(&actor.name),
        Value::text(interface.name()),
        text(&address.map(|address| address.to_string())),
        text(reason),
        reverted_to.map_or(Value::Null, int),
        Value::Text(config_rows::json(changes)),
    ]
}

/// Returns the histories as changes of a catalog that has the sessions.
pub(super) async fn marks(connection: &mut SqliteConnection) -> Result<Vec<Change>, LoadError> {
    let rows = sqlx::query(MARKS).fetch_all(connection).await?;
    rows.iter().map(|row| named(row, mark(row)).map(|mark| Change::Remember(Arc::new(mark)))).collect()
}

fn mark(row: &SqliteRow) -> Result<HistoryMark, RowError> {
    let number = |column| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    Ok(HistoryMark {
        service: ServiceName::restore(row.try_get("service")?)?,
        instance: InstanceName::restore(row.try_get("instance")?)?,
        id: number("id")?,
        oldest: number("oldest")?,
        last: number("last")?,
    })
}

fn named<T>(row: &SqliteRow, read: Result<T, RowError>) -> Result<T, LoadError> {
    read.map_err(|error| {
        let number: i64 = row.try_get(0).unwrap_or_default();
        LoadError::ConfigRow { place: format!("table history, history {number}"), why: error.to_string() }
    })
}

/// Reads some revisions.
pub(super) async fn revisions(
    connection: &mut SqliteConnection,
    read: &RevisionsRead,
) -> Result<Vec<RevisionView>, LoadError> {
    let bound = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let most = i64::try_from(read.most).unwrap_or(i64::MAX);
    let query = sqlx::query(REVISIONS).bind(bound(read.history)).bind(bound(read.before)).bind(most);
    let rows = query.fetch_all(connection).await?;
    rows.iter().map(|row| named(row, view(row))).collect()
}

fn view(row: &SqliteRow) -> Result<RevisionView, RowError> {
    let text = |column| row.try_get::<&str, _>(column);
    let perhaps = |column| row.try_get::<Option<&str>, _>(column);
    let number = |column| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    Ok(RevisionView {
        number: number("number")?,
        revision: number("revision")?,
        at: Time(number("at")?),
        action: RevisionAction::read(text("action")?)?,
        actor: Actor { kind: ActorKind::read(text("actor_kind")?)?, name: text("actor")?.to_owned() },
        interface: Interface::read(text("interface")?)?,
        address: perhaps("address")?.map(str::parse::<IpAddr>).transpose()?,
        reason: perhaps("reason")?.map(str::to_owned),
        reverted_to: row.try_get::<Option<i64>, _>("reverted_to")?.map(i64::cast_unsigned),
        changes: serde_json::from_str(text("changes")?)?,
    })
}

/// Reads some entries of a revision; `None` if it is not kept.
pub(super) async fn entries(
    connection: &mut SqliteConnection,
    read: &EntriesRead,
) -> Result<Option<Vec<Edit>>, LoadError> {
    let (history, number) = (read.history.cast_signed(), read.number.cast_signed());
    let kept: i64 = sqlx::query_scalar(KEPT).bind(history).bind(number).fetch_one(&mut *connection).await?;
    if kept == 0 {
        return Ok(None);
    }
    let after = read.after.as_ref().map(|edit| config_rows::row(SessionKey::NONE, edit));
    let [_, section, route, name, _] =
        after.unwrap_or_else(|| [Value::Null, Value::text(""), Value::Int(0), Value::text(""), Value::Null]);
    let query = sqlx::query(ENTRIES).bind(history).bind(number).bind(section).bind(route).bind(name);
    let rows = query.bind(i64::try_from(read.most).unwrap_or(i64::MAX)).fetch_all(connection).await?;
    rows.iter().map(|row| entry(row, read)).collect::<Result<Vec<Edit>, LoadError>>().map(Some)
}

fn entry(row: &SqliteRow, read: &EntriesRead) -> Result<Edit, LoadError> {
    let parts =
        ConfigRow { section: row.try_get(0)?, route: row.try_get(1)?, name: row.try_get(2)?, value: row.try_get(3)? };
    config_rows::edit(&parts).map_err(|error| {
        let ConfigRow { section, route, name, .. } = parts;
        let history = read.history;
        let place = format!("table history_entry, history {history}, section {section}, route {route}, name '{name}'");
        LoadError::ConfigRow { place, why: error.to_string() }
    })
}
