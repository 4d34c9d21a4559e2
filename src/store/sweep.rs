//! Compares what is stored with a catalog.
//!
//! The registry asks for it after commits, in debug and test builds. It repairs nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::SqliteConnection;

use crate::domain::{Catalog, Config, Confirmation, Guard, Pending, Session, SessionKey, SessionRecord};

use crate::registry::EntriesRead;

use super::history_rows;
use super::load;
use super::load_error::LoadError;

/// The revision, the number of sessions, the number of active routes, the number of histories, and the number of rows
/// without a session.
pub(super) const COUNTS: &str = "select (select revision from registry), (select count(*) from session), \
    (select count(*) from active where section = 'routes'), (select count(*) from history_of), \
    (select count(*) from (select session from active union all select session from staged \
        union all select session from maintenance union all select session from pending \
        union all select session from confirmation) \
     where session not in (select key from session))";

/// Returns the first difference between the database and `catalog`: in the counts, or in the rows of the sessions
/// `keys`, which may have ended.
///
/// # Errors
/// If the database cannot be read.
pub(super) async fn disagreement(
    connection: &mut SqliteConnection,
    catalog: &Catalog,
    keys: &BTreeSet<SessionKey>,
) -> Result<Option<String>, sqlx::Error> {
    let stored: (i64, i64, i64, i64, i64) = sqlx::query_as(COUNTS).fetch_one(&mut *connection).await?;
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let (sessions, histories) = (number(catalog.sessions_len()), number(catalog.histories_len()));
    let expected = (catalog.revision().cast_signed(), sessions, number(catalog.routes_len()), histories, 0);
    if stored != expected {
        let what = "revision, sessions, active routes, histories and rows without a session";
        return Ok(Some(format!("{what}: {stored:?} are stored instead of {expected:?}")));
    }
    for key in keys {
        let mut stored = Catalog::default();
        match load::session(connection, *key).await {
            Ok(changes) => changes.iter().for_each(|change| stored.absorb(change)),
            Err(LoadError::Read(error)) => return Err(error),
            Err(unreadable @ LoadError::ConfigRow { .. }) => return Ok(Some(unreadable.to_string())),
        }
        let sessions = [&stored, catalog].map(|catalog| catalog.by_key(*key).map(AsRef::as_ref));
        if let Some(part) = difference(sessions) {
            return Ok(Some(format!("session {}: {part} differs from the catalog", key.0)));
        }
        if let Some(fault) = history_fault(connection, catalog, *key).await? {
            return Ok(Some(format!("session {}: {fault}", key.0)));
        }
    }
    Ok(None)
}

/// Compares the active configuration of a session with the last revision of its instance, if the session has made it.
async fn history_fault(
    connection: &mut SqliteConnection,
    catalog: &Catalog,
    key: SessionKey,
) -> Result<Option<String>, sqlx::Error> {
    let Some(session) = catalog.by_key(key).filter(|session| session.record.revision > 0) else { return Ok(None) };
    let record = &session.record;
    let current = catalog.of_instance(&record.service, &record.instance);
    let is_last = current.is_none_or(|current| current.key == key || current.record.revision == 0);
    let Some(mark) = catalog.history_of(&record.service, &record.instance).filter(|_| is_last) else {
        return Ok(None);
    };
    let read = EntriesRead { history: mark.id, number: mark.last, after: None, most: usize::MAX };
    let edits = match history_rows::entries(connection, &read).await {
        Ok(Some(edits)) => edits,
        Ok(None) => return Ok(Some(format!("revision {} is not stored", mark.last))),
        Err(LoadError::Read(error)) => return Err(error),
        Err(unreadable @ LoadError::ConfigRow { .. }) => return Ok(Some(unreadable.to_string())),
    };
    let mut stored = Config::default();
    edits.iter().for_each(|edit| stored.edit(edit));
    Ok((stored != session.active).then(|| format!("revision {} differs from the active configuration", mark.last)))
}

/// Returns the first stored part of a session in which two versions of it differ.
pub(super) fn difference(sessions: [Option<&Session>; 2]) -> Option<&'static str> {
    let [one, other] = match sessions {
        [Some(one), Some(other)] => [one, other].map(stored_parts),
        [None, None] => return None,
        [Some(_), None] | [None, Some(_)] => return Some("its existence"),
    };
    let parts = [
        ("its record", one.0 == other.0),
        ("its active configuration", one.1 == other.1),
        ("its staged configuration", one.2 == other.2),
        ("its waiting requests", one.3 == other.3),
        ("its confirmation", one.4 == other.4),
    ];
    parts.into_iter().find(|(_, is_equal)| !is_equal).map(|(part, _)| part)
}

/// The parts of a session that are stored.
type StoredParts<'a> = (SessionRecord, &'a Config, Option<&'a Config>, &'a [Pending], Option<Confirmation>);

/// Returns the parts of a session that are stored. Exhaustive, so that a new field is either compared or named here.
fn stored_parts(session: &Session) -> StoredParts<'_> {
    let Session { key: _, record, active, staged, bound: _, unbound_at: _, last_activity: _, pending, confirmation } =
        session;
    let record = SessionRecord { origin: None, ..SessionRecord::clone(record) };
    // The routes of a guard follow from the configurations.
    let confirmation = confirmation.as_deref().cloned().map(|confirmation| {
        let guard = confirmation.guard.map(|guard| Guard { routes: Arc::from([]), ..guard });
        Confirmation { guard, ..confirmation }
    });
    (record, active, staged.as_ref().map(|staged| &staged.config), pending, confirmation)
}
