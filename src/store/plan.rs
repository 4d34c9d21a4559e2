//! Plans the statements for a batch of changes: as few statements as possible, with few different texts.
//!
//! Planning does no IO; `commit` runs the plan. After a plan the database is as if the changes had been written one
//! by one. The statements are sorted by table: active configurations, waiting requests and ends first; then records
//! with their maintenance; then staged configurations, because dropping these looks at both.

use std::collections::BTreeMap;

use crate::domain::{Change, Edit, Maintenance, Section, Sections, SessionKey, SessionRecord};
use crate::registry::AuditBatch;
use crate::registry::revisions::RevisionRecord;

use super::history_rows::RevisionRows;
use super::maintenance_rows::StoredMaintenance;
use super::statements::{StatementKind, StatementShape};
use super::value::Value;
use super::{audit_rows, config_rows, confirmation_rows, history_rows, pending_rows, session_rows};

/// Rows of the same kind of statement.
#[derive(Debug)]
struct StatementRun {
    kind: StatementKind,
    values: Vec<Value>,
}

/// The text of a statement and its bound values.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
    is_atomic: bool,
}

/// The statements to run, in order.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
    /// True if a loss of power must not lose it.
    pub(super) is_precious: bool,
    /// True if it writes the revision.
    pub(super) moves_revision: bool,
    /// The maintenance to remember after the commit, for each written session; `None` for a session that ends.
    pub(super) maintained: Vec<(SessionKey, Option<Maintenance>)>,
}

impl Plan {
    /// Plans the statements that store `changes`, the records of `audit` and a moved revision. `kept` is the stored
    /// maintenance.
    pub(super) fn new(changes: &[Change], audit: &AuditBatch, revision: u64, kept: &StoredMaintenance) -> Self {
        let mut draft = Draft::default();
        for change in changes {
            draft.take(change);
        }
        let is_precious = changes.iter().any(Change::is_precious);
        let moves_revision = changes.iter().any(Change::moves_revision);
        let mut steps = Vec::new();
        let records = put_records(&draft.records).into_iter().chain(maintain(&draft.records, kept));
        let ended = draft.ended.into_iter().map(|key| (key, None));
        let headed = draft.records.iter().map(|(key, record)| (*key, Some(record.maintenance.clone())));
        let maintained = ended.chain(headed).collect();
        for run in draft.active.into_iter().chain(records).chain(draft.staged) {
            split(run, &mut steps);
        }
        audited(audit).into_iter().for_each(|run| split(run, &mut steps));
        let revisions = audit.revisions.iter().flat_map(revised);
        draft.dropped.into_iter().chain(revisions).for_each(|run| split(run, &mut steps));
        if moves_revision {
            split(
                StatementRun { kind: StatementKind::Revision, values: vec![Value::Int(revision.cast_signed())] },
                &mut steps,
            );
        }
        Self { steps, is_precious, moves_revision, maintained }
    }

    /// Returns true if the plan is atomic without a transaction around it.
    pub(super) fn is_atomic(&self) -> bool {
        matches!(&*self.steps, [step] if step.is_atomic)
    }
}

/// A plan in the making.
#[derive(Default)]
struct Draft<'a> {
    active: Vec<StatementRun>,
    staged: Vec<StatementRun>,
    /// The histories that go.
    dropped: Vec<StatementRun>,
    /// The last record of each session; earlier ones need not be written.
    records: BTreeMap<SessionKey, &'a SessionRecord>,
    ended: Vec<SessionKey>,
}

impl<'a> Draft<'a> {
    fn take(&mut self, change: &'a Change) {
        match change {
            Change::Record(key, record) => {
                self.records.insert(*key, record);
            }
            Change::End(key) => {
                self.records.remove(key);
                self.ended.push(*key);
                add(&mut self.active, StatementKind::End, [number(*key)]);
                add(&mut self.staged, StatementKind::DropStaged, [number(*key)]);
            }
            Change::Stage { key, edit, .. } => {
                add(&mut self.staged, StatementKind::PutStaged, config_rows::row(*key, edit));
            }
            Change::Unstage(key) => add(&mut self.staged, StatementKind::Unstage, [number(*key)]),
            Change::Apply { key, sections, edits } => {
                for edit in &**edits {
                    self.apply(*key, edit);
                }
                self.unstage(*key, *sections);
            }
            Change::Await(key, request) => {
                add(&mut self.active, StatementKind::PutPending, pending_rows::row(*key, request));
            }
            Change::Complete(key, ticket) => {
                add(&mut self.active, StatementKind::DropPending, pending_rows::place(*key, *ticket));
            }
            Change::AwaitConfirmation(key, confirmation) => {
                let row = confirmation_rows::row(*key, confirmation);
                add(&mut self.active, StatementKind::PutConfirmation, row);
            }
            Change::Settle(key) => add(&mut self.active, StatementKind::DropConfirmation, [number(*key)]),
            Change::Forget(mark) => add(&mut self.dropped, StatementKind::DropHistory, history_rows::key(mark)),
            Change::Bind(..) | Change::Unbind(..) | Change::Observed(_) | Change::Remember(_) => {}
        }
    }

    fn apply(&mut self, key: SessionKey, edit: &Edit) {
        let row = config_rows::row(key, edit);
        if edit.removes() {
            let [session, section, route, name, _] = row;
            add(&mut self.active, StatementKind::DropActive, [session, section, route, name]);
        } else {
            add(&mut self.active, StatementKind::PutActive, row);
        }
    }

    fn unstage(&mut self, key: SessionKey, sections: Sections) {
        if sections == Sections::ALL {
            return add(&mut self.staged, StatementKind::Unstage, [number(key)]);
        }
        let named = Section::ALL.map(|section| {
            // Null equals nothing, so it matches no section.
            if sections.contains(section) { Value::Text(config_rows::section_name(section)) } else { Value::Null }
        });
        let values = [number(key), number(key)].into_iter().chain(named).chain([number(key), number(key)]);
        add(&mut self.staged, StatementKind::UnstageSections, values);
    }
}

fn number(key: SessionKey) -> Value {
    Value::Int(key.0.cast_signed())
}

fn add(runs: &mut Vec<StatementRun>, kind: StatementKind, row: impl IntoIterator<Item = Value>) {
    match runs.last_mut() {
        Some(last) if last.kind == kind => last.values.extend(row),
        Some(_) | None => runs.push(StatementRun { kind, values: row.into_iter().collect() }),
    }
}

fn put_records(records: &BTreeMap<SessionKey, &SessionRecord>) -> Option<StatementRun> {
    let values: Vec<Value> = records.iter().flat_map(|(key, record)| session_rows::row(*key, record)).collect();
    (!values.is_empty()).then_some(StatementRun { kind: StatementKind::PutSession, values })
}

/// Returns the rows that differ from the stored maintenance.
fn maintain(records: &BTreeMap<SessionKey, &SessionRecord>, kept: &StoredMaintenance) -> Vec<StatementRun> {
    let mut runs = Vec::new();
    let differences: Vec<_> = records.iter().map(|(key, record)| kept.difference(*key, &record.maintenance)).collect();
    for row in differences.iter().flat_map(|difference| &difference.dropped) {
        add(&mut runs, StatementKind::DropMaintenance, row.iter().cloned());
    }
    for row in differences.iter().flat_map(|difference| &difference.put) {
        add(&mut runs, StatementKind::PutMaintenance, row.iter().cloned());
    }
    runs
}

/// The number of old records that a commit removes in addition to as many as it writes, so that a lowered bound is
/// reached in small steps.
const PRUNED_MORE: usize = 64;

/// Returns the rows of new records, and the removal of old ones.
fn audited(audit: &AuditBatch) -> Vec<StatementRun> {
    let count = audit.records.len();
    if count == 0 {
        return Vec::new();
    }
    let values = audit.records.iter().flat_map(audit_rows::row).collect();
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let most = i64::try_from(count + PRUNED_MORE).unwrap_or(i64::MAX);
    let bounds = vec![Value::Int(most), number(audit.keep_from), number(audit.keep_since.0)];
    let put = StatementRun { kind: StatementKind::PutAudit, values };
    vec![put, StatementRun { kind: StatementKind::PruneAudit, values: bounds }]
}

/// Returns the rows of a revision.
fn revised(record: &RevisionRecord) -> impl Iterator<Item = StatementRun> {
    let RevisionRows { names, closed_all, closed, put, repeated, revision, pruned } = history_rows::rows(record);
    let runs = [
        (StatementKind::PutHistoryOf, names.unwrap_or_default()),
        (StatementKind::CloseHistory, closed_all.unwrap_or_default()),
        (StatementKind::CloseEntries, closed),
        (StatementKind::PutEntries, put),
        (StatementKind::KeepRepeated, repeated.unwrap_or_default()),
        (StatementKind::PutRevision, revision),
        (StatementKind::PruneHistory, pruned.unwrap_or_default()),
    ];
    runs.into_iter().filter(|(_, values)| !values.is_empty()).map(|(kind, values)| StatementRun { kind, values })
}

/// The number of rows that may be written twice to save one statement, which costs as much as several rows.
const PADDING_MAX: usize = 8;

/// Splits a run into statements whose numbers of rows are powers of two, so that there are few different texts and
/// each stays prepared. The last statement may repeat its last row.
fn split(run: StatementRun, steps: &mut Vec<Step>) {
    let StatementRun { kind, values } = run;
    let StatementShape { columns, rows_max, times_bound, is_atomic } = kind.shape();
    let mut left = &values[..];
    while !left.is_empty() {
        let rows = left.len() / columns;
        let size = size(rows, rows_max);
        let taken = size.min(rows);
        let (now, later) = left.split_at(taken * columns);
        let mut values = now.to_vec();
        for _ in taken..size {
            // In bounds: at least one row is taken.
            values.extend_from_slice(&now[now.len() - columns..]);
        }
        let bound = values.len();
        for _ in 1..times_bound {
            values.extend_from_within(..bound);
        }
        steps.push(Step { text: kind.text(size), values, is_atomic });
        left = later;
    }
}

/// Returns the number of rows of the next statement when `rows` are left, at least one.
fn size(rows: usize, max: usize) -> usize {
    let enough = rows.next_power_of_two();
    let fits = enough - rows <= PADDING_MAX;
    (if fits { enough } else { enough / 2 }).min(max)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::samples;
    use super::*;
    use crate::domain::{MaintenanceEntry, PageUrl, RouteId, Target, Time};

    fn stages(count: u32) -> Vec<Change> {
        let edit = |id| samples::route_edit(id, "a.example", "/");
        (1..=count).map(|id| Change::Stage { key: SessionKey(1), edit: edit(id), at: Time(0) }).collect()
    }

    #[test]
    fn staging_alone_is_one_statement_without_a_transaction() {
        for count in [1, 2, 5, 16, 60, 512] {
            let plan = Plan::new(&stages(count), &AuditBatch::default(), 9, &StoredMaintenance::default());
            assert!(plan.is_atomic() && !plan.is_precious, "{count}");
        }
    }

    #[test]
    fn few_texts_cover_every_number_of_rows() {
        let texts: std::collections::HashSet<String> = (1..1200)
            .step_by(31)
            .chain(1..70)
            .flat_map(|count| Plan::new(&stages(count), &AuditBatch::default(), 9, &StoredMaintenance::default()).steps)
            .map(|step| step.text)
            .collect();
        assert_eq!(texts.len(), 10);
    }

    #[test]
    fn only_the_last_head_of_a_session_is_written() {
        let record = Arc::new(samples::record("shop", "shop-1"));
        let changes = [Change::Record(SessionKey(1), Arc::clone(&record)), Change::Record(SessionKey(1), record)];
        let plan = Plan::new(&changes, &AuditBatch::default(), 9, &StoredMaintenance::default());
        assert_eq!(plan.steps.len(), 2, "the record and the revision: {plan:?}");
        assert!(plan.is_precious && !plan.is_atomic());
    }

    #[test]
    fn of_maintenance_only_what_differs_is_written() {
        let key = SessionKey(1);
        let (mut kept, mut record) = (StoredMaintenance::default(), samples::record("shop", "shop-1"));
        let page = PageUrl::parse("http://pages/down").unwrap();
        let entry = MaintenanceEntry { page: Some(page), entered: Time(1), by_operator: false };
        let plan = |kept: &StoredMaintenance, record: &SessionRecord| {
            let plan = Plan::new(&[Change::Record(key, Arc::new(record.clone()))], &AuditBatch::default(), 9, kept);
            let rows = plan.steps.iter().filter(|step| step.text.contains(" maintenance "));
            (rows.map(|step| step.values.len()).sum::<usize>(), plan)
        };
        (1..=1_000).for_each(|id| record.maintenance.enter(Target::Route(RouteId(id)), entry.clone()));
        let (values, first) = plan(&kept, &record);
        assert!(values >= 5_000, "{values}");
        assert_eq!(plan(&kept, &record).0, values, "until it is committed");
        first.maintained.into_iter().for_each(|(key, now)| kept.set(key, now));
        assert_eq!(plan(&kept, &record).0, 0, "a record that changes in something else");
        record.maintenance.enter(Target::Route(RouteId(1_001)), entry.clone());
        assert_eq!(plan(&kept, &record).0, 5, "one row more");
        record.maintenance.exit(Target::Route(RouteId(1)));
        assert_eq!(plan(&kept, &record).0, 7, "and one less");
    }

    #[test]
    fn a_change_that_is_not_stored_needs_no_statement() {
        let plan = Plan::new(
            &[Change::Unbind(SessionKey(1), Time(0))],
            &AuditBatch::default(),
            9,
            &StoredMaintenance::default(),
        );
        assert!(plan.steps.is_empty());
    }
}
