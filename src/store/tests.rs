//! The store as a whole: real files, closed and opened again, full disks, files that are not ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, SqlSafeStr as _};
use tempfile::TempDir;

use super::failure::Failure;
use super::plan::Plan;
use super::samples;
use super::statements::StatementKind;
use super::*;
use crate::domain::{
    Catalog, Change, Edit, Maintenance, MaintenanceEntry, PageUrl, Pending, RouteId, Section, Sections, SessionKey,
    SessionRecord, Target, Time,
};
use crate::registry::{ClockReading, Store as _};
use sqlx::Connection as _;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn file() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("signalbox.db");
    (directory, path)
}

async fn open(path: &Path) -> Sqlite {
    Sqlite::open(&format!("sqlite://{}", path.display())).await.unwrap()
}

async fn refused(path: &Path) -> String {
    Sqlite::open(path.to_str().unwrap()).await.unwrap_err().to_string()
}

async fn sql(store: &mut Sqlite, text: &'static str) {
    sqlx::raw_sql(text).execute(store.connection.as_mut().unwrap()).await.unwrap();
}

async fn number(store: &mut Sqlite, text: &'static str) -> i64 {
    sqlx::query_scalar(text).fetch_one(store.connection.as_mut().unwrap()).await.unwrap()
}

const KEY: SessionKey = SessionKey(1);

fn opened() -> Change {
    Change::Record(KEY, Arc::new(samples::record("shop", "shop-1")))
}

fn staged(id: u32) -> Change {
    Change::Stage { key: KEY, edit: samples::route_edit(id, "a.example", "/"), at: Time(0) }
}

fn applied(edits: impl Into<Arc<[Edit]>>) -> Change {
    Change::Apply { key: KEY, sections: Sections::ALL, edits: edits.into() }
}

async fn loaded(store: &mut Sqlite) -> Catalog {
    // Past the store, which is not to take anything up by this.
    let (loaded, _) = super::load::load(store.connected().await.unwrap()).await.unwrap();
    let mut catalog = Catalog::default();
    for change in &loaded.changes {
        catalog.absorb(change);
    }
    catalog.resume(loaded.revision, Time(0));
    catalog
}

#[track_caller]
fn assert_same(one: &Catalog, other: &Catalog) {
    assert_eq!(one.revision(), other.revision());
    assert_eq!(one.sessions_len(), other.sessions_len());
    for (one, other) in one.sessions().zip(other.sessions()) {
        assert_eq!((one.key, &one.record), (other.key, &other.record));
        assert_eq!(one.active, other.active);
        assert_eq!(one.pending, other.pending);
        let config = |session: &crate::domain::Session| session.staged.as_ref().map(|staged| staged.config.clone());
        assert_eq!(config(one), config(other));
    }
}

/// What a client, or time, can do to one of a few sessions.
#[derive(Clone, Debug)]
enum Deed {
    Alter(Box<SessionRecord>),
    Stage(Vec<Edit>),
    Unstage,
    Apply(u8),
    Replace,
    Await(Pending),
    Settle,
    End,
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        1 => samples::altered(samples::record("shop", "x")).prop_map(|record| Deed::Alter(Box::new(record))),
        4 => proptest::collection::vec(samples::edit(1..6), 1..12).prop_map(Deed::Stage),
        1 => Just(Deed::Unstage),
        3 => (1..64_u8).prop_map(Deed::Apply),
        1 => Just(Deed::Apply(63)),
        1 => Just(Deed::Replace),
        2 => samples::pending().prop_map(Deed::Await),
        1 => Just(Deed::Settle),
        1 => Just(Deed::End),
    ]
}

/// The changes that a deed to an instance comes to, as commands decide on them.
fn changes(catalog: &Catalog, instance: &str, deed: Deed) -> Vec<Change> {
    let mut first = samples::record("shop", instance);
    first.id = crate::domain::SessionId::restore(&format!("id-{}", catalog.next_key().0));
    let register = Change::Record(catalog.next_key(), Arc::new(first.clone()));
    let Some(session) = catalog.of_instance(&first.service, &first.instance) else {
        return vec![register];
    };
    let key = session.key;
    let record = |change: &dyn Fn(&mut SessionRecord)| {
        let mut record = SessionRecord::clone(&session.record);
        change(&mut record);
        Change::Record(key, Arc::new(record))
    };
    match deed {
        Deed::Alter(new) => vec![record(&|record| {
            *record = SessionRecord {
                id: record.id.clone(),
                instance: record.instance.clone(),
                next_route: record.next_route,
                ..*new.clone()
            }
        })],
        Deed::Stage(edits) => edits.into_iter().map(|edit| Change::Stage { key, edit, at: Time(0) }).collect(),
        Deed::Unstage => vec![Change::Unstage(key)],
        Deed::Apply(bits) => {
            let picked = Section::ALL.into_iter().filter(|section| bits & (1 << *section as u8) != 0);
            let sections = picked.fold(Sections::default(), |sections, section| sections | section);
            let difference = session.difference();
            let edits = difference.edits().filter(|edit| sections.contains(edit.section())).cloned().collect();
            vec![Change::Apply { key, sections, edits }, record(&|record| record.revision += 1)]
        }
        Deed::Replace => vec![record(&|record| record.replaced = Some(Time(9))), register],
        Deed::Await(pending) => vec![Change::Await(key, Pending { ticket: catalog.next_ticket(), ..pending })],
        Deed::Settle => {
            session.pending.first().map(|pending| Change::Settle(key, pending.ticket)).into_iter().collect()
        }
        Deed::End => vec![Change::End(catalog.replaced_of(&first).unwrap_or(key))],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_was_committed_is_loaded(
        batches in proptest::collection::vec(proptest::collection::vec((1..4_u32, deed()), 1..6), 1..12),
    ) {
        run(async {
            let (_directory, path) = file();
            let mut store = open(&path).await;
            let mut catalog = Catalog::default();
            for batch in batches {
                let mut all = Vec::new();
                for (slot, deed) in batch {
                    let decided = changes(&catalog, &format!("shop-{slot}"), deed);
                    for change in &decided {
                        catalog.absorb(change);
                    }
                    all.extend(decided);
                }
                store.commit(&all, catalog.revision()).await.unwrap();
                assert_same(&loaded(&mut store).await, &catalog);
            }
            store.close().await;
            assert_same(&loaded(&mut open(&path).await).await, &catalog);
        });
    }
}

#[test]
fn a_route_id_is_not_given_out_again_after_all_of_it_is_gone() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        store.commit(&[opened()], 1).await.unwrap();
        store.commit(&[staged(1), staged(2), staged(3)], 1).await.unwrap();
        let gone = Change::Stage { key: KEY, edit: Edit::Route(RouteId(3), None), at: Time(0) };
        store.commit(&[gone], 1).await.unwrap();
        assert_eq!(loaded(&mut store).await.by_key(KEY).unwrap().record.next_route, 4);
        store.commit(&[Change::Unstage(KEY)], 1).await.unwrap();
        let catalog = loaded(&mut store).await;
        let session = catalog.by_key(KEY).unwrap();
        assert_eq!((session.record.next_route, session.staged.is_none()), (4, true));
    });
}

type Redress<'a> = &'a dyn Fn(&mut Maintenance);

/// The session's record with a maintenance that was changed like this.
fn maintained(maintenance: &mut Maintenance, change: impl FnOnce(&mut Maintenance)) -> Change {
    change(maintenance);
    Change::Record(
        KEY,
        Arc::new(SessionRecord { maintenance: maintenance.clone(), ..samples::record("shop", "shop-1") }),
    )
}

fn entry(at: u64) -> MaintenanceEntry {
    MaintenanceEntry {
        page: Some(PageUrl::parse("http://p:8000/sorry").unwrap()),
        entered: Time(at),
        by_operator: false,
    }
}

/// Rows that were ever written or taken away on this connection.
async fn rows_changed(store: &mut Sqlite) -> i64 {
    number(store, "select total_changes()").await
}

#[test]
fn a_head_writes_of_its_maintenance_what_changed() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        let mut maintenance = Maintenance::default();
        let (head_and_revision, routes) = (2, (1..=1_000).map(RouteId).map(Target::Route));
        let all = maintained(&mut maintenance, |all| routes.for_each(|route| all.enter(route, entry(1))));
        store.commit(&[all], 1).await.unwrap();
        store.close().await;
        let mut store = open(&path).await;
        store.load().await.unwrap();
        let [first, new] = [1, 1_001].map(RouteId).map(Target::Route);
        let deeds: [(i64, Redress<'_>); 6] = [
            (0, &|_| ()),
            (1, &|all| all.enter(new, entry(2))),
            (1, &|all| all.enter(new, entry(3))),
            (1, &|all| all.exit(first)),
            (0, &|_| ()),
            (1_001, &|all| all.enter(Target::All, entry(4))),
        ];
        for (rows, deed) in deeds {
            let before = rows_changed(&mut store).await;
            let record = maintained(&mut maintenance, deed);
            store.commit(&[record], 1).await.unwrap();
            assert_eq!(rows_changed(&mut store).await - before, rows + head_and_revision);
            assert_eq!(loaded(&mut store).await.by_key(KEY).unwrap().record.maintenance, maintenance);
        }
    });
}

#[test]
fn maintenance_whose_commit_failed_is_written_by_the_next() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        let mut maintenance = Maintenance::default();
        let [one, two] = [1, 2].map(RouteId).map(Target::Route);
        store.commit(&[maintained(&mut maintenance, |all| all.enter(one, entry(1)))], 1).await.unwrap();
        let second = maintained(&mut maintenance, |all| {
            all.exit(one);
            all.enter(two, entry(2));
        });
        // A second session with the id of the first.
        let clash = Change::Record(SessionKey(2), Arc::new(samples::record("shop", "shop-1")));
        store.commit(&[second.clone(), clash.clone()], 2).await.unwrap_err();
        store.commit(&[Change::End(KEY), clash.clone(), opened()], 2).await.unwrap_err();
        store.commit(&[second], 2).await.unwrap();
        assert_eq!(loaded(&mut store).await.by_key(KEY).unwrap().record.maintenance, maintenance);
        store.commit(&[Change::End(KEY), clash], 3).await.unwrap();
        assert_eq!(number(&mut store, "select count(*) from maintenance").await, 0);
    });
}

#[test]
fn a_file_of_the_version_before_keeps_its_maintenance() {
    run(async {
        let (_directory, path) = file();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut old = options.connect().await.unwrap();
        super::open::MIGRATOR.run_to(2, &mut old).await.unwrap();
        let text = r#"
            insert into session
            select column1, column2, 'shop', column2, 7, '{}', 5, 3, 1, 6, null, null, column3, 'drain_completed', null, 'team'
            from (values
                (1, 'shop-1', '{}'),
                (2, 'shop-2', '{"ALL":{"page":null,"entered":1},"r12":null}'),
                (3, 'shop-3', '{"r1":{"page":"http://p:8000/it''s?a=1","entered":1795323231906},
                                "r4294967295":{"page":null,"entered":2}}'))"#;
        sqlx::raw_sql(text).execute(&mut old).await.unwrap();
        old.close().await.unwrap();
        let mut store = open(&path).await;
        let catalog = loaded(&mut store).await;
        let found = |key| catalog.by_key(SessionKey(key)).unwrap().record.maintenance.clone();
        let plain = |at| MaintenanceEntry { page: None, entered: Time(at), by_operator: false };
        let page = Some(PageUrl::parse("http://p:8000/it's?a=1").unwrap());
        let first = MaintenanceEntry { page, entered: Time(1_795_323_231_906), by_operator: false };
        assert_eq!(found(1), Maintenance::default());
        let all = Maintenance { all: Some(plain(1)), routes: [(RouteId(12), None)].into_iter().collect() };
        assert_eq!(found(2), all);
        let routes = [(RouteId(1), Some(first)), (RouteId(u32::MAX), Some(plain(2)))];
        assert_eq!(found(3), Maintenance { all: None, routes: routes.into_iter().collect() });
        let record = &catalog.by_key(SessionKey(3)).unwrap().record;
        assert_eq!((record.id.reveal(), record.next_route, record.last_apply), ("shop-3", 3, Some(Time(6))));
        assert_eq!(record.topics.names().collect::<Vec<_>>(), ["drain_completed"]);
        assert_eq!(record.token.as_ref().unwrap().as_str(), "team");
    });
}

#[test]
fn a_commit_that_finds_the_disk_full_keeps_nothing_and_the_next_one_succeeds() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        store.commit(&[opened(), staged(1)], 1).await.unwrap();
        let before = loaded(&mut store).await;
        sql(&mut store, "pragma max_page_count = 1").await;
        let many: Vec<Change> = (2..3_000).map(staged).collect();
        let edits: Vec<Edit> = (2..3_000).map(|id| samples::route_edit(id, "a.example", "/")).collect();
        for batch in [many, vec![applied(edits), opened()]] {
            store.commit(&batch, 2).await.unwrap_err();
            assert_same(&loaded(&mut store).await, &before);
        }
        sql(&mut store, "pragma max_page_count = 1000000").await;
        store.commit(&[staged(2), applied([samples::route_edit(2, "a.example", "/")])], 2).await.unwrap();
        store.close().await;
        assert_eq!(loaded(&mut open(&path).await).await.routes_len(), 1);
    });
}

#[test]
fn a_glued_plan_that_fails_keeps_nothing() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        store.commit(&[opened()], 1).await.unwrap();
        // A second session with the id of the first.
        let clash = Change::Record(SessionKey(2), Arc::new(samples::record("shop", "shop-1")));
        let edit = samples::route_edit(1, "a.example", "/");
        store.commit(&[applied([edit.clone()]), clash], 3).await.unwrap_err();
        let catalog = loaded(&mut store).await;
        assert_eq!((catalog.routes_len(), catalog.sessions_len(), catalog.revision()), (0, 1, 1));
        store.commit(&[applied([edit])], 2).await.unwrap();
        assert_eq!(loaded(&mut store).await.routes_len(), 1);
    });
}

#[test]
fn a_commit_that_is_abandoned_half_way_does_not_hinder_the_next() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        store.commit(&[opened()], 1).await.unwrap();
        let many: Vec<Change> = (1..3_000).map(staged).collect();
        for polls in 1..12 {
            let mut commit = Box::pin(store.commit(&many, 1));
            for _ in 0..polls {
                if futures_util::poll!(&mut commit).is_ready() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            drop(commit);
            store.commit(&[staged(1)], 1).await.unwrap();
        }
        assert!(loaded(&mut store).await.by_key(KEY).unwrap().staged.is_some());
    });
}

#[test]
fn a_broken_connection_is_replaced_unless_the_database_moved_on() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        store.commit(&[opened()], 1).await.unwrap();
        store.connection.take().unwrap().close().await.unwrap();
        store.commit(&[staged(1)], 1).await.unwrap();
        store.connection.take().unwrap().close().await.unwrap();
        store.revision = 7;
        let error = store.commit(&[staged(2)], 7).await.unwrap_err();
        assert!(error.to_string().contains("revision 1 instead of 7"), "{error}");
    });
}

#[test]
fn a_precious_batch_is_synced_and_a_staging_one_is_not() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        let (full, normal) = (2, 1);
        for _ in 0..3 {
            store.commit(&[opened()], 1).await.unwrap();
            assert_eq!(number(&mut store, "pragma synchronous").await, full);
            store.commit(&[staged(1)], 1).await.unwrap();
            assert_eq!(number(&mut store, "pragma synchronous").await, normal);
            store.commit(&[staged(1), opened()], 1).await.unwrap();
            assert_eq!(number(&mut store, "pragma synchronous").await, full);
        }
    });
}

#[test]
fn every_statement_prepares() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        let connection = store.connection.as_mut().unwrap();
        for text in super::load::STATEMENTS {
            connection.prepare(text.into_sql_str()).await.unwrap();
        }
        for kind in StatementKind::ALL {
            let sizes = std::iter::successors(Some(1), |size| Some(size * 2));
            for size in sizes.take_while(|size| *size <= kind.rows_max()) {
                let text = AssertSqlSafe(kind.text(size));
                let prepared = connection.prepare(text.into_sql_str()).await;
                assert!(prepared.is_ok(), "{kind:?}, {size} rows: {prepared:?}");
            }
        }
    });
}

#[test]
fn taking_entries_away_looks_them_up() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        for kind in [
            StatementKind::DropMaintenance,
            StatementKind::DropActive,
            StatementKind::Unstage,
            StatementKind::UnstageSections,
            StatementKind::DropStaged,
            StatementKind::End,
        ] {
            for text in kind.text(kind.rows_max().min(4)).split(';') {
                let plan = sqlx::query(AssertSqlSafe(format!("explain query plan {text}")));
                let rows = plan.fetch_all(store.connection.as_mut().unwrap()).await.unwrap();
                let details: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, "detail")).collect();
                let scans = |table: &str| details.iter().any(|detail| *detail == format!("SCAN {table}"));
                assert!(!scans("active") && !scans("staged") && !scans("session"), "{text}: {details:?}");
            }
        }
    });
}

#[test]
fn a_new_file_is_for_its_owner_alone_and_nothing_is_left_beside_it() {
    run(async {
        use std::os::unix::fs::PermissionsExt as _;
        let (directory, path) = file();
        let mut store = open(&path).await;
        store.commit(&[opened()], 1).await.unwrap();
        for entry in fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        }
        store.close().await;
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    });
}

#[test]
fn a_second_opener_is_refused() {
    run(async {
        let (_directory, path) = file();
        let mut first = open(&path).await;
        first.commit(&[opened()], 1).await.unwrap();
        assert!(refused(&path).await.contains("in use by another process"));
        first.commit(&[staged(1)], 1).await.unwrap();
        first.close().await;
        let first = open(&path).await;
        assert!(refused(&path).await.contains("in use by another process"), "also with an empty log");
        first.close().await;
    });
}

#[test]
fn a_file_that_was_not_closed_is_taken_up() {
    run(async {
        let (directory, path) = file();
        let mut store = open(&path).await;
        store.commit(&[opened(), staged(1)], 1).await.unwrap();
        // As a crash leaves it: the log is still beside it.
        let copy = directory.path().join("copy.db");
        for suffix in ["", "-wal"] {
            fs::copy(super::location::beside(&path, suffix), super::location::beside(&copy, suffix)).unwrap();
        }
        let mut copied = open(&copy).await;
        assert_same(&loaded(&mut copied).await, &loaded(&mut store).await);
        assert!(!super::location::beside(&copy, "-shm").exists());
    });
}

#[test]
fn a_damaged_file_is_refused_untouched() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        let edits: Vec<Edit> = (1..500).map(|id| samples::route_edit(id, "a.example", "/")).collect();
        store.commit(&[opened(), applied(edits)], 1).await.unwrap();
        store.close().await;
        let whole = fs::read(&path).unwrap();
        let mut page = whole.clone();
        page[7 * 4096..8 * 4096].fill(0xa5);
        for damaged in [&whole[..whole.len() / 2], b"not a database, but long enough to be looked at", &page] {
            fs::write(&path, damaged).unwrap();
            assert!(refused(&path).await.contains("is damaged, or no database"));
            assert!(fs::read(&path).unwrap() == damaged);
        }
    });
}

#[test]
fn the_database_of_another_program_is_refused_untouched() {
    run(async {
        let (_directory, path) = file();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut other = options.connect().await.unwrap();
        sqlx::raw_sql("create table _sqlx_migrations (x); create table t (x)").execute(&mut other).await.unwrap();
        other.close().await.unwrap();
        let before = fs::read(&path).unwrap();
        assert!(refused(&path).await.contains("database of another program"));
        assert!(fs::read(&path).unwrap() == before);
    });
}

#[test]
fn the_file_of_a_newer_version_is_refused_untouched_also_after_a_crash() {
    run(async {
        let (directory, path) = file();
        let mut store = open(&path).await;
        sql(&mut store, "insert into _sqlx_migrations values (9999, 'later', current_timestamp, true, x'00', 0)").await;
        let copy = directory.path().join("copy.db");
        for suffix in ["", "-wal"] {
            fs::copy(super::location::beside(&path, suffix), super::location::beside(&copy, suffix)).unwrap();
        }
        store.close().await;
        for path in [path, copy] {
            let before = fs::read(&path).unwrap();
            let refusal = refused(&path).await;
            assert!(refusal.contains("newer version") && refusal.contains("9999"), "{refusal}");
            assert!(fs::read(&path).unwrap() == before);
        }
    });
}

#[test]
fn a_first_start_that_was_cut_short_is_made_up_for() {
    run(async {
        let (_directory, path) = file();
        fs::write(&path, "").unwrap();
        open(&path).await.close().await;
        fs::remove_file(&path).unwrap();
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let mut half = options.connect().await.unwrap();
        sqlx::migrate::Migrate::ensure_migrations_table(&mut half, "_sqlx_migrations").await.unwrap();
        half.close().await.unwrap();
        open(&path).await.close().await;
    });
}

#[test]
fn a_missing_directory_and_a_directory_are_named() {
    run(async {
        let directory = tempfile::tempdir().unwrap();
        let refusal = refused(&directory.path().join("no/s.db")).await;
        assert!(refusal.contains("there is no directory") && refusal.contains("/no`"), "{refusal}");
        let refusal = refused(directory.path()).await;
        assert!(refusal.contains("cannot be opened for reading and writing"), "{refusal}");
    });
}

#[test]
fn a_row_that_means_nothing_is_an_error_that_names_it() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        store.commit(&[opened(), staged(1)], 1).await.unwrap();
        for (text, words) in [
            ("update staged set value = '{'", "table staged, session 1, section routes, route 1"),
            ("update staged set session = 2", "there is no such session"),
            ("update session set service = 'a b'", "table session, key 1"),
        ] {
            sql(&mut store, text).await;
            let error = store.load().await.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    });
}

#[test]
fn it_runs_on_a_runtime_with_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let done = runtime.spawn(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        store.commit(&[opened()], 1).await.unwrap();
        store.load().await.unwrap().revision
    });
    assert_eq!(runtime.block_on(done).unwrap(), 1);
}

#[test]
fn a_log_of_another_file_is_recognised_and_both_are_left_alone() {
    run(async {
        let (_directory, path) = file();
        let wal = super::location::beside(&path, "-wal");
        let store = open(&path).await;
        store.close().await;
        let backup = fs::read(&path).unwrap();
        let mut store = open(&path).await;
        store.commit(&[opened()], 1).await.unwrap();
        // As `kill -9` leaves it.
        let (now, log) = (fs::read(&path).unwrap(), fs::read(&wal).unwrap());
        assert!(!log.is_empty());
        // Waits for its end, which removes the log.
        store.close().await;
        for restored in [backup, Vec::new()] {
            fs::write(&path, &restored).unwrap();
            fs::write(&wal, &log).unwrap();
            let said = refused(&path).await;
            assert!(said.contains("belongs to another database file") && said.contains("move the log away"), "{said}");
            assert_eq!((fs::read(&path).unwrap(), fs::read(&wal).unwrap()), (restored, log.clone()));
        }
        fs::write(&path, &now).unwrap();
        fs::write(&wal, &log).unwrap();
        let _ = fs::remove_file(super::location::beside(&path, "-shm"));
        assert_eq!(loaded(&mut open(&path).await).await.sessions_len(), 1, "its own log is taken up");
    });
}

#[test]
fn a_file_that_is_deleted_or_replaced_takes_no_more_commits_until_it_is_back() {
    run(async {
        let (directory, path) = file();
        let mut store = open(&path).await;
        store.commit(&[opened()], 1).await.unwrap();
        let aside = directory.path().join("aside.db");
        fs::rename(&path, &aside).unwrap();
        for said in ["was deleted or moved away", "is another file"] {
            let error = store.commit(&[opened()], 2).await.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(store.probe().await.is_err() && store.look().is_err());
            fs::write(&path, "another").unwrap();
        }
        fs::rename(&aside, &path).unwrap();
        store.commit(&[opened()], 2).await.unwrap();
        store.probe().await.unwrap();
    });
}

#[test]
fn a_file_that_is_put_in_its_place_during_a_start_is_not_taken_for_it() {
    run(async {
        let (directory, path) = file();
        open(&path).await.close().await;
        let copy = directory.path().join("copy.db");
        for polls in 1..12 {
            fs::copy(&path, &copy).unwrap();
            let url = path.display().to_string();
            let mut opening = Box::pin(Sqlite::open(&url));
            let mut opened = None;
            for _ in 0..polls {
                if let std::task::Poll::Ready(ready) = futures_util::poll!(&mut opening) {
                    opened = Some(ready);
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            fs::rename(&copy, &path).unwrap();
            let store = match opened {
                Some(store) => store,
                None => opening.await,
            };
            // It may also be refused because one of the two has no log of its own.
            let Ok(mut store) = store else { continue };
            let error = store.begin(&ClockReading::default(), 0).await.unwrap_err().to_string();
            assert!(error.contains("is another file"), "after {polls} looks: {error}");
            store.close().await;
            for beside in ["-wal", "-shm"] {
                let _ = fs::remove_file(super::location::beside(&path, beside));
            }
        }
    });
}

#[test]
fn a_commit_whose_end_was_not_seen_is_looked_up() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        store.commit(&[opened()], 1).await.unwrap();
        let broken = || Failure::Database(sqlx::Error::WorkerCrashed);
        assert!(!store.is_kept(&broken(), &[opened()], 2, true).await, "it is not there");
        let plan = Plan::new(&[opened()], 2, &store.maintained);
        store.carry_out(plan).await.unwrap();
        assert!(store.is_kept(&broken(), &[opened()], 2, true).await, "it is");
        store.connection = None;
        assert!(store.commit(&[opened()], 3).await.is_err() && store.has_diverged(), "memory does not have it");
    });
}

#[test]
fn staging_whose_end_was_not_seen_is_looked_up_or_ends_the_process() {
    run(async {
        for reached_the_disk in [false, true] {
            let (_directory, path) = file();
            let mut store = open(&path).await;
            store.commit(&[opened()], 1).await.unwrap();
            let plan = Plan::new(&[staged(1)], 1, &store.maintained);
            if reached_the_disk {
                store.carry_out(plan).await.unwrap();
            }
            let broken = Failure::Database(sqlx::Error::WorkerCrashed);
            assert_eq!(store.is_kept(&broken, &[staged(1)], 1, false).await, reached_the_disk);
            assert!(!store.has_diverged());
            assert_eq!(loaded(&mut store).await.by_key(KEY).unwrap().staged.is_some(), reached_the_disk);
            // Nobody can find out while the file is away.
            let aside = path.with_extension("aside");
            fs::rename(&path, &aside).unwrap();
            assert!(!store.is_kept(&broken, &[staged(2)], 1, false).await && !store.has_diverged());
            fs::rename(&aside, &path).unwrap();
            let error = store.commit(&[staged(2)], 1).await.unwrap_err().to_string();
            assert!(error.contains("nothing tells") && store.has_diverged(), "{error}");
        }
    });
}

#[test]
fn moments_are_moved_with_the_clock_at_a_start_and_the_clock_is_kept() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        let record = SessionRecord {
            replaced: Some(Time(9_000)),
            connected_at: Time(1_000),
            ..samples::record("shop", "shop-1")
        };
        store.commit(&[Change::Record(KEY, Arc::new(record.clone()))], 1).await.unwrap();
        let reading = ClockReading { boot: "a".to_owned(), boot_ms: 5, now: Time(7) };
        for (skew, expected) in
            [(0, record.clone()), (500, record.moved(500)), (-2_000, record.moved(500).moved(-2_000))]
        {
            store.begin(&reading, skew).await.unwrap();
            let loaded = store.load().await.unwrap();
            assert_eq!(loaded.reading, reading);
            let records: Vec<_> = loaded.changes.iter().filter(|change| matches!(change, Change::Record(..))).collect();
            assert!(matches!(records[..], [Change::Record(_, found)] if **found == expected), "{records:?}");
        }
        store.commit(&[opened()], 2).await.unwrap();
    });
}

#[test]
fn the_migrations_are_the_files_of_their_folder() {
    let entries =
        std::fs::read_dir("migrations").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = entries.collect();
    files.sort();
    let listed = super::open::MIGRATIONS.iter();
    let names = listed.map(|(version, description, _)| format!("{version:04}_{}.sql", description.replace(' ', "_")));
    assert_eq!(files, names.collect::<Vec<_>>());
}
