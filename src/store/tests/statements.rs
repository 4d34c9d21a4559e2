//! The statements: each prepares, and unreadable rows are named.

use super::*;

#[test]
fn every_statement_prepares() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        let connection = store.connection.as_mut().unwrap();
        for text in super::load::STATEMENTS.into_iter().chain([crate::store::sweep::COUNTS]) {
            connection.prepare(text.into_sql_str()).await.unwrap();
        }
        for kind in StatementKind::ALL {
            let sizes = std::iter::successors(Some(1), |size| Some(size * 2));
            for size in sizes.take_while(|size| *size <= kind.shape().rows_max) {
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
            for text in kind.text(kind.shape().rows_max.min(4)).split(';') {
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
fn a_row_that_means_nothing_is_an_error_that_names_it() {
    run(async {
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        store.commit(&[opened(), staged(1)], &AuditBatch::default(), 1).await.unwrap();
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
fn the_migrations_are_the_files_of_their_folder() {
    let entries =
        std::fs::read_dir("migrations").unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = entries.collect();
    files.sort();
    let listed = super::open::MIGRATIONS.iter();
    let names = listed.map(|(version, description, _)| format!("{version:04}_{}.sql", description.replace(' ', "_")));
    assert_eq!(files, names.collect::<Vec<_>>());
}
