//! The statements that write changes to the database.
//!
//! Each text is generated for a few fixed numbers of rows, only from words in this file: a caller's text is never
//! part of a statement. The file knows no changes; `plan` chooses the statements and rows.

use std::fmt::Write as _;

use super::audit_rows::AUDIT_COLUMNS;
use super::history_rows::HISTORY_COLUMNS;
use super::session_rows::SESSION_COLUMNS;
use super::{config_rows, confirmation_rows, maintenance_rows, pending_rows};

/// Writes without changing anything that is kept.
pub(super) const PROBE: &str = "update registry set probes = probes + 1";

/// The kinds of statements. Running one twice with the same row is the same as running it once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StatementKind {
    /// Writes records.
    PutSession,
    /// Writes entries of maintenance.
    PutMaintenance,
    /// Deletes entries of maintenance.
    DropMaintenance,
    /// Writes waiting maintenance requests.
    PutPending,
    /// Deletes waiting maintenance requests.
    DropPending,
    /// Writes entries of active configurations.
    PutActive,
    /// Deletes entries of active configurations.
    DropActive,
    /// Writes edits of staged configurations.
    PutStaged,
    /// Deletes everything that sessions have staged.
    Unstage,
    /// Deletes a session's staged entries of some sections, and the others if they change nothing.
    UnstageSections,
    /// Deletes everything that sessions have staged that are gone.
    DropStaged,
    /// Deletes sessions, their active configurations, their maintenance and its requests.
    End,
    /// Writes records of the audit.
    PutAudit,
    /// Deletes the oldest records of the audit as far as they are out of its bounds.
    PruneAudit,
    /// Writes the names of histories.
    PutHistoryOf,
    /// Ends all entries of a history.
    CloseHistory,
    /// Ends entries of histories.
    CloseEntries,
    /// Writes entries of histories.
    PutEntries,
    /// Goes on with the entries that were ended and written again with the same value.
    KeepRepeated,
    /// Writes revisions.
    PutRevision,
    /// Deletes the oldest revisions of a history.
    PruneHistory,
    /// Deletes histories.
    DropHistory,
    /// Writes applies that wait for their confirmation.
    PutConfirmation,
    /// Deletes applies that wait for their confirmation.
    DropConfirmation,
    /// Writes the registry's revision.
    Revision,
}

/// The measures of a kind of statement.
#[derive(Clone, Copy, Debug)]
pub(super) struct StatementShape {
    /// The number of values per row.
    pub(super) columns: usize,
    /// The maximum number of rows per statement, a power of two.
    pub(super) rows_max: usize,
    /// The number of statements in the text, to each of which the rows' values are bound in turn.
    pub(super) times_bound: usize,
    /// True if the text is a single statement, which is a transaction by itself.
    pub(super) is_atomic: bool,
}

impl StatementKind {
    #[cfg(test)]
    pub(super) const ALL: [StatementKind; 25] = [
        StatementKind::PutSession,
        StatementKind::PutMaintenance,
        StatementKind::DropMaintenance,
        StatementKind::PutPending,
        StatementKind::DropPending,
        StatementKind::PutActive,
        StatementKind::DropActive,
        StatementKind::PutStaged,
        StatementKind::Unstage,
        StatementKind::UnstageSections,
        StatementKind::DropStaged,
        StatementKind::End,
        StatementKind::PutAudit,
        StatementKind::PruneAudit,
        StatementKind::PutHistoryOf,
        StatementKind::CloseHistory,
        StatementKind::CloseEntries,
        StatementKind::PutEntries,
        StatementKind::KeepRepeated,
        StatementKind::PutRevision,
        StatementKind::PruneHistory,
        StatementKind::DropHistory,
        StatementKind::PutConfirmation,
        StatementKind::DropConfirmation,
        StatementKind::Revision,
    ];

    /// Returns the measures of the statement.
    pub(super) fn shape(self) -> StatementShape {
        let single = |columns| StatementShape { columns, rows_max: 512, times_bound: 1, is_atomic: true };
        match self {
            StatementKind::PutSession => StatementShape { rows_max: 64, ..single(SESSION_COLUMNS.len()) },
            StatementKind::PutMaintenance => single(maintenance_rows::COLUMNS),
            StatementKind::DropMaintenance => single(maintenance_rows::KEY_COLUMNS),
            StatementKind::PutPending => single(pending_rows::COLUMNS),
            StatementKind::DropPending => single(pending_rows::KEY_COLUMNS),
            StatementKind::PutActive | StatementKind::PutStaged => single(config_rows::COLUMNS),
            StatementKind::DropActive => single(config_rows::COLUMNS - 1),
            StatementKind::Unstage => StatementShape { times_bound: 2, is_atomic: false, ..single(1) },
            // Its row contains the values of all its statements.
            StatementKind::UnstageSections => {
                StatementShape { rows_max: 1, is_atomic: false, ..single(UNSTAGE_SECTIONS_COLUMNS) }
            }
            StatementKind::End => StatementShape { times_bound: 5, is_atomic: false, ..single(1) },
            StatementKind::PutAudit => StatementShape { rows_max: 64, ..single(AUDIT_COLUMNS.len()) },
            StatementKind::PruneAudit => StatementShape { rows_max: 1, ..single(PRUNE_COLUMNS) },
            StatementKind::PutHistoryOf => StatementShape { rows_max: 64, ..single(3) },
            StatementKind::CloseHistory => StatementShape { rows_max: 1, ..single(2) },
            StatementKind::CloseEntries => single(5),
            StatementKind::PutEntries => single(6),
            // Its row contains the values of both its statements.
            StatementKind::KeepRepeated => StatementShape { rows_max: 1, is_atomic: false, ..single(4) },
            StatementKind::PutRevision => StatementShape { rows_max: 16, ..single(HISTORY_COLUMNS.len()) },
            StatementKind::PruneHistory => {
                StatementShape { rows_max: 1, times_bound: 2, is_atomic: false, ..single(2) }
            }
            StatementKind::DropHistory => StatementShape { times_bound: 3, is_atomic: false, ..single(1) },
            StatementKind::PutConfirmation => StatementShape { rows_max: 16, ..single(confirmation_rows::COLUMNS) },
            StatementKind::DropStaged | StatementKind::DropConfirmation => single(1),
            StatementKind::Revision => StatementShape { rows_max: 1, ..single(1) },
        }
    }

    /// Returns the text for `rows` rows.
    pub(super) fn text(self, rows: usize) -> String {
        match self {
            StatementKind::PutSession => put_session(rows),
            StatementKind::PutMaintenance => format!(
                "insert into maintenance (session, route, page, entered, by_operator) values {} on conflict do update set \
                 page = excluded.page, entered = excluded.entered, by_operator = excluded.by_operator",
                tuples(maintenance_rows::COLUMNS, rows)
            ),
            StatementKind::DropMaintenance => {
                let places = tuples(maintenance_rows::KEY_COLUMNS, rows);
                format!("delete from maintenance where (session, route) in (values {places})")
            }
            StatementKind::PutPending => {
                let rows = tuples(pending_rows::COLUMNS, rows);
                format!(
                    "insert into pending (session, ticket, exits, page, targets) values {rows} on conflict do nothing"
                )
            }
            StatementKind::DropPending => {
                let places = tuples(pending_rows::KEY_COLUMNS, rows);
                format!("delete from pending where (session, ticket) in (values {places})")
            }
            StatementKind::PutActive => put("active", rows),
            StatementKind::PutStaged => put("staged", rows),
            StatementKind::DropActive => {
                format!("delete from active where (session, section, route, name) in (values {})", tuples(4, rows))
            }
            StatementKind::Unstage => {
                let keys = list(rows);
                format!("{RAISE} in {keys}; delete from staged where session in {keys}")
            }
            StatementKind::UnstageSections => format!("{RAISE} = ?; {DROP_SECTIONS}; {DROP_IDLE}"),
            StatementKind::DropStaged => format!("delete from staged where session in {}", list(rows)),
            StatementKind::End => {
                let keys = list(rows);
                format!(
                    "delete from active where session in {keys}; delete from maintenance where session in {keys}; \
                     delete from pending where session in {keys}; delete from confirmation where session in {keys}; \
                     delete from session where key in {keys}"
                )
            }
            StatementKind::PutAudit => format!(
                "insert into audit ({}) values {} on conflict do nothing",
                AUDIT_COLUMNS.join(", "),
                tuples(AUDIT_COLUMNS.len(), rows)
            ),
            StatementKind::PruneAudit => PRUNE.into(),
            StatementKind::PutHistoryOf => put_history_of(rows),
            StatementKind::CloseHistory => CLOSE_HISTORY.into(),
            StatementKind::CloseEntries => close_entries(rows),
            StatementKind::PutEntries => put_entries(rows),
            StatementKind::KeepRepeated => format!("{GO_ON}; {DROP_REPEATED}"),
            StatementKind::PutRevision => put_revision(rows),
            StatementKind::PruneHistory => PRUNE_HISTORY.into(),
            StatementKind::DropHistory => drop_history(rows),
            StatementKind::PutConfirmation => {
                format!("insert or replace into confirmation values {}", tuples(confirmation_rows::COLUMNS, rows))
            }
            StatementKind::DropConfirmation => format!("delete from confirmation where session in {}", list(rows)),
            StatementKind::Revision => "update registry set revision = ?".into(),
        }
    }
}

/// Looks only at the oldest records, so that no commit takes long.
const PRUNE: &str = "delete from audit where sequence in (select sequence from audit order by sequence limit ?) \
                     and (sequence < ? or at < ?)";
/// The number of values of a [`StatementKind::PruneAudit`].
const PRUNE_COLUMNS: usize = 3;

/// The number of values of an [`StatementKind::UnstageSections`]: the key, the key with six sections, the key, the
/// key.
const UNSTAGE_SECTIONS_COLUMNS: usize = 10;

/// Raises the number of the session's next route above that of its staged routes before they are deleted, so that no
/// route id is given out twice.
const RAISE: &str = "update session set next_route = max(next_route, coalesce((select max(route) + 1 from staged \
                     where staged.session = session.key and section = 'routes'), 0)) where key";

const DROP_SECTIONS: &str = "delete from staged where session = ? and section in (?, ?, ?, ?, ?, ?)";

/// Deletes the staged rows if they equal the active ones, as the catalog does.
const DROP_IDLE: &str = "delete from staged where session = ? and not exists (select 1 from staged left join active \
                         using (session, section, route, name) \
                         where staged.session = ? and staged.value is not active.value)";

fn put_history_of(rows: usize) -> String {
    let rows = tuples(3, rows);
    format!("insert into history_of (id, service, instance) values {rows} on conflict do nothing")
}

fn close_entries(rows: usize) -> String {
    let rows = tuples(5, rows);
    format!(
        "update history_entry set until = changed.column5 from (values {rows}) as changed \
         where history = changed.column1 and section = changed.column2 and route = changed.column3 \
         and name = changed.column4 and since < changed.column5 and until is null"
    )
}

fn put_entries(rows: usize) -> String {
    let rows = tuples(6, rows);
    format!(
        "insert into history_entry (history, section, route, name, since, value) values {rows} on conflict do nothing"
    )
}

fn put_revision(rows: usize) -> String {
    let (columns, rows) = (HISTORY_COLUMNS.join(", "), tuples(HISTORY_COLUMNS.len(), rows));
    format!("insert into history ({columns}) values {rows} on conflict do nothing")
}

fn drop_history(rows: usize) -> String {
    let keys = list(rows);
    format!(
        "delete from history_entry where history in {keys}; delete from history where history in {keys}; \
         delete from history_of where id in {keys}"
    )
}

/// Ends the entries of the revision before a whole new configuration.
const CLOSE_HISTORY: &str = "update history_entry set until = ? where history = ? and until is null";

/// Takes the end from entries that the new revision has again.
const GO_ON: &str = "update history_entry set until = null where until = ? and history = ? and exists ( \
                     select 1 from history_entry as new where new.history = history_entry.history \
                     and new.section = history_entry.section and new.route = history_entry.route \
                     and new.name = history_entry.name and new.since = history_entry.until \
                     and new.value = history_entry.value)";

/// Deletes the new entries for which an older one goes on.
const DROP_REPEATED: &str = "delete from history_entry where since = ? and history = ? and exists ( \
                             select 1 from history_entry as old where old.history = history_entry.history \
                             and old.section = history_entry.section and old.route = history_entry.route \
                             and old.name = history_entry.name and old.since < history_entry.since \
                             and old.until is null)";

/// Deletes the revisions before the oldest one that is kept, and the entries that ended with them.
const PRUNE_HISTORY: &str = "delete from history where history = ? and number < ?; \
                             delete from history_entry where history = ? and until <= ?";

fn put(table: &str, rows: usize) -> String {
    let tuples = tuples(config_rows::COLUMNS, rows);
    format!(
        "insert into {table} (session, section, route, name, value) values {tuples} \
         on conflict do update set value = excluded.value"
    )
}

fn put_session(rows: usize) -> String {
    let mut text = format!(
        "insert into session ({}) values {} on conflict (key) do update set \
         next_route = max(next_route, excluded.next_route)",
        SESSION_COLUMNS.join(", "),
        tuples(SESSION_COLUMNS.len(), rows),
    );
    for column in SESSION_COLUMNS.into_iter().filter(|column| !["key", "next_route"].contains(column)) {
        // Cannot fail: it writes to a string.
        let _ = write!(text, ", {column} = excluded.{column}");
    }
    text
}

/// `(?, ?), (?, ?), …`
fn tuples(columns: usize, rows: usize) -> String {
    repeated(&list(columns), rows)
}

/// `(?, ?, …)`
fn list(length: usize) -> String {
    format!("({})", repeated("?", length))
}

fn repeated(text: &str, times: usize) -> String {
    let mut all = String::with_capacity((text.len() + 2) * times);
    for index in 0..times {
        if index > 0 {
            all.push_str(", ");
        }
        all.push_str(text);
    }
    all
}
