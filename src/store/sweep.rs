//! Compares what is stored with a catalog.
//!
//! The registry asks for it after commits, in debug and test builds. It repairs nothing.

use std::collections::BTreeSet;

use sqlx::SqliteConnection;

use crate::domain::{Catalog, Config, Pending, Session, SessionKey, SessionRecord};

use super::load::{self, LoadError};

/// The revision, the number of sessions, the number of active routes, and the number of rows without a session.
pub(super) const COUNTS: &str = "select (select revision from registry), (select count(*) from session), \
    (select count(*) from active where section = 'routes'), \
    (select count(*) from (select session from active union all select session from staged \
        union all select session from maintenance union all select session from pending) \
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
    let stored: (i64, i64, i64, i64) = sqlx::query_as(COUNTS).fetch_one(&mut *connection).await?;
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let expected = (catalog.revision().cast_signed(), number(catalog.sessions_len()), number(catalog.routes_len()), 0);
    if stored != expected {
        let what = "revision, sessions, active routes and rows without a session";
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
    }
    Ok(None)
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
    ];
    parts.into_iter().find(|(_, is_equal)| !is_equal).map(|(part, _)| part)
}

/// Returns the parts of a session that are stored. Exhaustive, so that a new field is either compared or named here.
fn stored_parts(session: &Session) -> (SessionRecord, &Config, Option<&Config>, &[Pending]) {
    let Session { key: _, record, active, staged, bound: _, unbound_at: _, last_activity: _, pending } = session;
    let record = SessionRecord { origin: None, ..SessionRecord::clone(record) };
    (record, active, staged.as_ref().map(|staged| &staged.config), pending)
}
