//! Revisions: the versioned rows give back each whole configuration, and only as many as are kept.

use std::collections::BTreeMap;

use super::*;
use crate::domain::{Config, HistoryMark, REVISIONS_MAX};
use crate::registry::audit::{Actor, Interface};
use crate::registry::revisions::{RevisionAction, RevisionCounts, RevisionRecord, RevisionView};
use crate::registry::{EntriesRead, RevisionsRead};

/// A history in the making, with the configuration of each revision.
struct Written {
    mark: Option<HistoryMark>,
    id: u64,
    present: Config,
    revisions: BTreeMap<u64, Config>,
}

impl Written {
    fn new(id: u64) -> Self {
        Self { mark: None, id, present: Config::default(), revisions: BTreeMap::new() }
    }

    /// Returns the record of a revision with `next`; the first one of a session has all its entries.
    fn record(&mut self, next: Config, is_whole: bool) -> RevisionRecord {
        let record = samples::record("shop", &format!("shop-{}", self.id));
        let mark = self.mark.as_ref().map_or_else(|| HistoryMark::first(&record, self.id), HistoryMark::next);
        let from = if is_whole { Config::default() } else { self.present.clone() };
        let edits: Vec<Edit> = from.difference(&next).edits().cloned().collect();
        let view = RevisionView {
            number: mark.last,
            revision: 3,
            at: Time(mark.last * 1_000),
            action: RevisionAction::Applied,
            actor: Actor::session(&mark.service, &mark.instance),
            interface: Interface::Pipe,
            address: Some("10.0.0.9".parse().unwrap()),
            reason: Some("größer | schöner".to_owned()),
            reverted_to: mark.last.is_multiple_of(2).then_some(mark.last - 1),
            changes: RevisionCounts { routes_added: 3, ..RevisionCounts::default() },
        };
        self.revisions.insert(mark.last, next.clone());
        (self.present, self.mark) = (next, Some(mark.clone()));
        RevisionRecord { mark: Arc::new(mark), is_whole, edits: edits.into(), view }
    }
}

async fn write(store: &mut Sqlite, revisions: Vec<RevisionRecord>) {
    let batch = AuditBatch { revisions, ..AuditBatch::default() };
    store.commit(&[], &batch, 1).await.unwrap();
}

/// Reads a whole configuration, `most` entries at a time.
async fn read(store: &mut Sqlite, history: u64, number: u64, most: usize) -> Option<Config> {
    let (mut config, mut after) = (Config::default(), None);
    loop {
        let edits = store.read_entries(&EntriesRead { history, number, after, most }).await.unwrap()?;
        edits.iter().for_each(|edit| config.edit(edit));
        if edits.len() < most {
            return Some(config);
        }
        after = edits.into_iter().next_back();
    }
}

async fn check(store: &mut Sqlite, written: &Written) {
    let Some(mark) = &written.mark else { return };
    for (number, config) in &written.revisions {
        let found = read(store, written.id, *number, 3).await;
        assert_eq!(found.as_ref(), mark.keeps(*number).then_some(config), "revision {number}");
    }
    let read = RevisionsRead { history: written.id, before: u64::MAX, most: 1_000 };
    let listed = store.read_revisions(&read).await.unwrap();
    let numbers: Vec<u64> = listed.iter().map(|view| view.number).collect();
    assert_eq!(numbers, (mark.oldest..=mark.last).rev().collect::<Vec<_>>());
}

/// Returns a later configuration.
fn later(present: &Config, edits: &[Edit]) -> Config {
    let mut next = present.clone();
    edits.iter().for_each(|edit| next.edit(edit));
    next
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn each_kept_revision_reads_back_as_the_whole_configuration_that_it_was(
        batches in proptest::collection::vec(
            proptest::collection::vec((1..3_u64, any::<bool>(), proptest::collection::vec(samples::edit(1..5), 0..9)), 1..4),
            1..14,
        ),
    ) {
        run(async {
            let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
            let mut histories = [Written::new(1), Written::new(2)];
            for batch in batches {
                let mut records = Vec::new();
                for (slot, begins, edits) in batch {
                    let written = &mut histories[usize::try_from(slot).unwrap() - 1];
                    let next = later(&written.present, &edits);
                    let is_first = written.mark.is_none();
                    records.push(written.record(next, begins || is_first));
                }
                write(&mut store, records).await;
                check(&mut store, &histories[0]).await;
                check(&mut store, &histories[1]).await;
            }
            let repeated = number(&mut store, "select count(*) from history_entry as one join history_entry as other \
                on (one.history, one.section, one.route, one.name, one.until) \
                = (other.history, other.section, other.route, other.name, other.since) \
                where one.value = other.value").await;
            assert_eq!(repeated, 0, "an entry that stays the same is one row");
        });
    }
}

#[test]
fn the_last_hundred_revisions_are_kept_with_the_rows_that_they_need() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        let mut written = Written::new(7);
        for step in 1..=130_u32 {
            let path = format!("/{step}");
            // One route changes each time, and two stay.
            let edits = [
                samples::route_edit(1, "a.example", &path),
                samples::route_edit(2, "b.example", "/"),
                samples::route_edit(3, "c.example", "/"),
            ];
            let next = later(&written.present, &edits);
            let record = written.record(next, step == 1 || step == 60);
            write(&mut store, vec![record]).await;
        }
        check(&mut store, &written).await;
        assert_eq!(number(&mut store, "select count(*) from history").await.cast_unsigned(), REVISIONS_MAX);
        assert_eq!(number(&mut store, "select count(*) from history_entry").await, 102);
        let read = RevisionsRead { history: 7, before: 101, most: 1 };
        let [view] = store.read_revisions(&read).await.unwrap().try_into().unwrap();
        assert_eq!((view.number, view.reverted_to, view.at), (100, Some(99), Time(100_000)));
        assert_eq!((view.reason.as_deref(), view.changes.routes_added), (Some("größer | schöner"), 3));
        let mark = Arc::new(written.mark.clone().unwrap());
        store.commit(&[Change::Forget(mark)], &AuditBatch::default(), 1).await.unwrap();
        for table in ["history", "history_entry", "history_of"] {
            let text = AssertSqlSafe(format!("select count(*) from {table}"));
            let count = sqlx::query_scalar::<_, i64>(text).fetch_one(store.connection.as_mut().unwrap()).await;
            assert_eq!(count.unwrap(), 0, "{table}");
        }
    });
}

#[test]
fn writing_and_pruning_a_revision_looks_its_rows_up() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        let kinds = [
            StatementKind::CloseHistory,
            StatementKind::CloseEntries,
            StatementKind::KeepRepeated,
            StatementKind::PruneHistory,
            StatementKind::DropHistory,
        ];
        for text in kinds
            .iter()
            .flat_map(|kind| kind.text(kind.shape().rows_max.min(4)).split(';').map(str::to_owned).collect::<Vec<_>>())
        {
            let plan = sqlx::query(AssertSqlSafe(format!("explain query plan {text}")));
            let rows = plan.fetch_all(store.connection.as_mut().unwrap()).await.unwrap();
            let details: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, "detail")).collect();
            assert!(!details.iter().any(|detail| detail.starts_with("SCAN history")), "{text}: {details:?}");
        }
    });
}

#[test]
fn what_was_active_before_there_was_a_history_is_its_first_revision() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        let mut record = samples::record("shop", "shop-1");
        (record.revision, record.last_apply) = (4, Some(Time(9_000)));
        let edits = [samples::route_edit(1, "a.example", "/"), samples::route_edit(2, "b.example", "/")];
        let other = Change::Record(
            SessionKey(2),
            Arc::new(crate::domain::SessionRecord {
                id: crate::domain::SessionId::restore("other"),
                ..samples::record("shop", "shop-2")
            }),
        );
        let changes = [Change::Record(KEY, Arc::new(record)), applied(edits.clone()), other];
        let mut catalog = Catalog::default();
        changes.iter().for_each(|change| catalog.absorb(change));
        store.commit(&changes, &AuditBatch::default(), catalog.revision()).await.unwrap();
        for text in [
            "drop table history; drop table history_of; drop table history_entry; drop table confirmation",
            "delete from _sqlx_migrations where version = 8",
        ] {
            sql(&mut store, text).await;
        }
        store.close().await;
        let mut store = open(&path).await;
        let catalog = loaded(&mut store).await;
        let session = catalog.by_key(KEY).unwrap();
        let mark = catalog.history_of(&session.record.service, &session.record.instance).unwrap();
        assert_eq!((mark.oldest, mark.last, catalog.histories_len()), (1, 1, 1));
        assert_eq!(read(&mut store, mark.id, 1, 100).await.unwrap(), session.active);
        let [view] = store
            .read_revisions(&RevisionsRead { history: mark.id, before: 9, most: 9 })
            .await
            .unwrap()
            .try_into()
            .unwrap();
        assert_eq!((view.action, view.at, view.revision), (RevisionAction::Recorded, Time(9_000), 4));
        assert_eq!(store.disagreement(&catalog, &[KEY].into()).await, None);
    });
}

#[test]
fn an_apply_that_waits_for_its_confirmation_is_loaded_with_the_configuration_before_it() {
    use crate::domain::{Confirmation, ConfirmationId, Failures, Guard};
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        let mut written = Written::new(1);
        let before = later(&Config::default(), &[samples::route_edit(1, "a.example", "/")]);
        let after = later(&before, &[samples::route_edit(2, "b.example", "/")]);
        let revisions = vec![written.record(before.clone(), true), written.record(after.clone(), false)];
        let guard = Some(Guard { before: Failures { requests: 100, failed: 3 }, routes: [].into() });
        let (id, until) = (ConfirmationId::new(9), Time(5_000));
        let waits = Confirmation { id, number: 2, previous: 1, before, until, guard };
        let edits: Vec<Edit> = Config::default().difference(&after).edits().cloned().collect();
        let record = SessionRecord { revision: 2, ..samples::record("shop", "shop-1") };
        let changes = [
            Change::Record(KEY, Arc::new(record)),
            applied(edits),
            Change::Remember(Arc::clone(&revisions[1].mark)),
            Change::AwaitConfirmation(KEY, Arc::new(waits.clone())),
        ];
        let mut catalog = Catalog::default();
        changes.iter().for_each(|change| catalog.absorb(change));
        let batch = AuditBatch { revisions, ..AuditBatch::default() };
        store.commit(&changes, &batch, catalog.revision()).await.unwrap();
        assert_eq!(store.disagreement(&catalog, &[KEY].into()).await, None);
        store.begin(&ClockReading::default(), 250).await.unwrap();
        store.close().await;
        let mut store = open(&path).await;
        let found = loaded(&mut store).await.by_key(KEY).unwrap().confirmation.clone().unwrap();
        assert_eq!(*found, Confirmation { until: Time(5_250), ..waits }, "its deadline moves with the clock");
        store.commit(&[Change::Settle(KEY)], &AuditBatch::default(), catalog.revision()).await.unwrap();
        assert!(loaded(&mut store).await.by_key(KEY).unwrap().confirmation.is_none());
    });
}
