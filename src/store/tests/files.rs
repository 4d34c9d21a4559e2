//! The database file: damaged, foreign, newer, replaced or in use.

use super::*;

#[test]
fn a_new_file_is_for_its_owner_alone_and_nothing_is_left_beside_it() {
    run(async {
        use std::os::unix::fs::PermissionsExt as _;
        let (directory, path) = file();
        let mut store = open(&path).await;
        store.commit(&[opened()], &AuditBatch::default(), 1).await.unwrap();
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
        first.commit(&[opened()], &AuditBatch::default(), 1).await.unwrap();
        assert!(refused(&path).await.contains("in use by another process"));
        first.commit(&[staged(1)], &AuditBatch::default(), 1).await.unwrap();
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
        store.commit(&[opened(), staged(1)], &AuditBatch::default(), 1).await.unwrap();
        // This is the state after a crash: the log is still there.
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
        store.commit(&[opened(), applied(edits)], &AuditBatch::default(), 1).await.unwrap();
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
fn a_log_of_another_file_is_recognised_and_both_are_left_alone() {
    run(async {
        let (_directory, path) = file();
        let wal = super::location::beside(&path, "-wal");
        let store = open(&path).await;
        store.close().await;
        let backup = fs::read(&path).unwrap();
        let mut store = open(&path).await;
        store.commit(&[opened()], &AuditBatch::default(), 1).await.unwrap();
        // This is the state after `kill -9`.
        let (now, log) = (fs::read(&path).unwrap(), fs::read(&wal).unwrap());
        assert!(!log.is_empty());
        // Closing removes the log.
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
        store.commit(&[opened()], &AuditBatch::default(), 1).await.unwrap();
        let aside = directory.path().join("aside.db");
        fs::rename(&path, &aside).unwrap();
        for said in ["was deleted or moved away", "is another file"] {
            let error = store.commit(&[opened()], &AuditBatch::default(), 2).await.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
            assert!(store.probe().await.is_err() && store.look().is_err());
            fs::write(&path, "another").unwrap();
        }
        fs::rename(&aside, &path).unwrap();
        store.commit(&[opened()], &AuditBatch::default(), 2).await.unwrap();
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
            // The start may also be refused because one of the two files has no log of its own.
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
