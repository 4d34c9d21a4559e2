//! Commits: their durability, their failures and what follows them.

use super::*;

#[test]
fn a_commit_that_finds_the_disk_full_keeps_nothing_and_the_next_one_succeeds() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        store.commit(&[opened(), staged(1)], &AuditBatch::default(), 1).await.unwrap();
        let before = loaded(&mut store).await;
        sql(&mut store, "pragma max_page_count = 1").await;
        let many: Vec<Change> = (2..3_000).map(staged).collect();
        let edits: Vec<Edit> = (2..3_000).map(|id| samples::route_edit(id, "a.example", "/")).collect();
        for batch in [many, vec![applied(edits), opened()]] {
            store.commit(&batch, &AuditBatch::default(), 2).await.unwrap_err();
            assert_same(&loaded(&mut store).await, &before);
        }
        sql(&mut store, "pragma max_page_count = 1000000").await;
        store
            .commit(&[staged(2), applied([samples::route_edit(2, "a.example", "/")])], &AuditBatch::default(), 2)
            .await
            .unwrap();
        store.close().await;
        assert_eq!(loaded(&mut open(&path).await).await.routes_len(), 1);
    });
}

#[test]
fn a_glued_plan_that_fails_keeps_nothing() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        store.commit(&[opened()], &AuditBatch::default(), 1).await.unwrap();
        // This session has the id of the first one, which is not allowed.
        let clash = Change::Record(SessionKey(2), Arc::new(samples::record("shop", "shop-1")));
        let edit = samples::route_edit(1, "a.example", "/");
        store.commit(&[applied([edit.clone()]), clash], &AuditBatch::default(), 3).await.unwrap_err();
        let catalog = loaded(&mut store).await;
        assert_eq!((catalog.routes_len(), catalog.sessions_len(), catalog.revision()), (0, 1, 1));
        store.commit(&[applied([edit])], &AuditBatch::default(), 2).await.unwrap();
        assert_eq!(loaded(&mut store).await.routes_len(), 1);
    });
}

#[test]
fn a_commit_that_is_abandoned_half_way_does_not_hinder_the_next() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        store.commit(&[opened()], &AuditBatch::default(), 1).await.unwrap();
        let many: Vec<Change> = (1..3_000).map(staged).collect();
        for polls in 1..12 {
            let none = AuditBatch::default();
            let mut commit = Box::pin(store.commit(&many, &none, 1));
            for _ in 0..polls {
                if futures_util::poll!(&mut commit).is_ready() {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            drop(commit);
            store.commit(&[staged(1)], &AuditBatch::default(), 1).await.unwrap();
        }
        assert!(loaded(&mut store).await.by_key(KEY).unwrap().staged.is_some());
    });
}

#[test]
fn a_broken_connection_is_replaced_unless_the_database_moved_on() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        store.commit(&[opened()], &AuditBatch::default(), 1).await.unwrap();
        store.connection.take().unwrap().close().await.unwrap();
        store.commit(&[staged(1)], &AuditBatch::default(), 1).await.unwrap();
        store.connection.take().unwrap().close().await.unwrap();
        store.revision = 7;
        let error = store.commit(&[staged(2)], &AuditBatch::default(), 7).await.unwrap_err();
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
            store.commit(&[opened()], &AuditBatch::default(), 1).await.unwrap();
            assert_eq!(number(&mut store, "pragma synchronous").await, full);
            store.commit(&[staged(1)], &AuditBatch::default(), 1).await.unwrap();
            assert_eq!(number(&mut store, "pragma synchronous").await, normal);
            store.commit(&[staged(1), opened()], &AuditBatch::default(), 1).await.unwrap();
            assert_eq!(number(&mut store, "pragma synchronous").await, full);
        }
    });
}

#[test]
fn it_runs_on_a_runtime_with_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let done = runtime.spawn(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        store.commit(&[opened()], &AuditBatch::default(), 1).await.unwrap();
        store.load().await.unwrap().revision
    });
    assert_eq!(runtime.block_on(done).unwrap(), 1);
}

#[test]
fn a_commit_whose_end_was_not_seen_is_looked_up() {
    run(async {
        let (_directory, path) = file();
        let mut store = open(&path).await;
        store.commit(&[opened()], &AuditBatch::default(), 1).await.unwrap();
        let broken = || Failure::Database(sqlx::Error::WorkerCrashed);
        assert!(!store.is_kept(&broken(), &[opened()], &AuditBatch::default(), 2, true).await, "it is not there");
        let plan = Plan::new(&[opened()], &AuditBatch::default(), 2, &store.maintained);
        store.carry_out(plan).await.unwrap();
        assert!(store.is_kept(&broken(), &[opened()], &AuditBatch::default(), 2, true).await, "it is");
        store.connection = None;
        assert!(
            store.commit(&[opened()], &AuditBatch::default(), 3).await.is_err() && store.has_diverged(),
            "memory does not have it"
        );
    });
}

#[test]
fn staging_whose_end_was_not_seen_is_looked_up_or_ends_the_process() {
    run(async {
        for reached_the_disk in [false, true] {
            let (_directory, path) = file();
            let mut store = open(&path).await;
            store.commit(&[opened()], &AuditBatch::default(), 1).await.unwrap();
            let plan = Plan::new(&[staged(1)], &AuditBatch::default(), 1, &store.maintained);
            if reached_the_disk {
                store.carry_out(plan).await.unwrap();
            }
            let broken = Failure::Database(sqlx::Error::WorkerCrashed);
            assert_eq!(store.is_kept(&broken, &[staged(1)], &AuditBatch::default(), 1, false).await, reached_the_disk);
            assert!(!store.has_diverged());
            assert_eq!(loaded(&mut store).await.by_key(KEY).unwrap().staged.is_some(), reached_the_disk);
            // Nothing can be found out while the file is away.
            let aside = path.with_extension("aside");
            fs::rename(&path, &aside).unwrap();
            assert!(
                !store.is_kept(&broken, &[staged(2)], &AuditBatch::default(), 1, false).await && !store.has_diverged()
            );
            fs::rename(&aside, &path).unwrap();
            let error = store.commit(&[staged(2)], &AuditBatch::default(), 1).await.unwrap_err().to_string();
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
        store.commit(&[Change::Record(KEY, Arc::new(record.clone()))], &AuditBatch::default(), 1).await.unwrap();
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
        store.commit(&[opened()], &AuditBatch::default(), 2).await.unwrap();
    });
}
