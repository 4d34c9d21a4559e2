//! Every byte of a backup is checked, and every step of a restore leaves a whole store.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::archive::{Frame, frame, hex, unpack, verify};
use super::error::RestoreError;
use super::manifest::{DatabaseEntry, Manifest};
use super::restore::{RestorePlace, restore};
use super::swap;
use crate::domain::Time;
use crate::registry::audit::{Actor, AuditAction, AuditDetails, AuditRecord};
use crate::registry::{Interface, Store as _};
use crate::store::{self, Sqlite};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn manifest(database: &[u8]) -> Manifest {
    Manifest {
        format: 1,
        signalbox: "0.1.0".to_owned(),
        made_at: "2026-11-30T07:00:00.000Z".to_owned(),
        store: "a".repeat(32),
        schema: 1,
        revision: 12,
        sessions: 1,
        routes: 2,
        database: DatabaseEntry {
            file: "signalbox.db".to_owned(),
            bytes: database.len() as u64,
            sha256: hex(&Sha256::digest(database)),
        },
    }
}

fn archive(manifest: &Manifest, database: &[u8]) -> Vec<u8> {
    let Frame { head, tail } = frame(manifest, 1_795_000_000);
    [&head, database, &tail].concat()
}

fn said(bytes: &[u8]) -> String {
    verify(bytes).unwrap_err().to_string()
}

#[test]
fn a_backup_is_read_as_it_was_written() {
    for length in [0, 1, 511, 512, 513, 300_000] {
        let database: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let manifest = manifest(&database);
        let mut found = Vec::new();
        assert_eq!(unpack(&*archive(&manifest, &database), &mut found).unwrap(), manifest);
        assert!(found == database, "{length}");
    }
}

#[test]
fn every_changed_bit_and_every_missing_end_is_a_fault() {
    let database = b"SQLite format 3\0 and so on".repeat(30);
    let whole = archive(&manifest(&database), &database);
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(verify(&*changed).is_err(), "a changed byte {at} was not noticed");
        let cut = &whole[..at];
        let expected = match at {
            0 => "it is empty",
            1..10 => "it is something else",
            _ => "before its end",
        };
        assert!(said(cut).contains(expected), "cut at {at}: {}", said(cut));
    }
    for more in [&[0_u8][..], &[0; 512], b"x"] {
        assert!(said(&[&whole, more].concat()).contains("after its end"));
    }
}

#[test]
fn other_files_are_called_what_they_are() {
    for (bytes, expected) in [
        (&b"SQLite format 3\0\x10\x00"[..], "a bare database"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"{\"services\": []}", "signalbox ctl import"),
        (b"hello", "something else"),
        (&[0; 2048], "something else"),
    ] {
        let said = said(bytes);
        assert!(said.contains("is not a backup of Signalbox") && said.contains(expected), "{said}");
    }
}

#[test]
fn a_newer_form_is_named_with_its_version() {
    let newer = Manifest { format: 2, signalbox: "9.1.0".to_owned(), ..manifest(b"x") };
    let said = said(&archive(&newer, b"x"));
    assert!(said.contains("Signalbox 9.1.0, format 2") && said.contains("restore it with that version"), "{said}");
}

#[test]
fn sizes_above_those_of_octal_digits_are_written_as_gnu_tar_writes_them() {
    let manifest = Manifest { database: DatabaseEntry { bytes: 1 << 33, ..manifest(b"").database }, ..manifest(b"") };
    let head = frame(&manifest, 0).head;
    assert_eq!(&head[head.len() - 512 + 124..][..12], &[0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0]);
}

fn record() -> AuditRecord {
    AuditRecord {
        sequence: 0,
        at: Time(1),
        action: AuditAction::StoreRestored,
        service_name: None,
        instance_name: None,
        actor: Actor::server(),
        interface: Interface::Server,
        address: None,
        revision: None,
        details: AuditDetails::default(),
    }
}

fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// Makes a store at a revision.
async fn store_at(path: &Path, revision: u64) {
    Sqlite::open(&url(path)).await.unwrap().close().await;
    store::renew(path, revision, record()).await.unwrap();
}

async fn revision_of(path: &Path) -> u64 {
    let mut store = Sqlite::open(&url(path)).await.unwrap();
    let revision = store.load().await.unwrap().revision;
    store.close().await;
    revision
}

/// A folder with a store at revision 5 and a new one at revision 900, and the names of all.
fn two_stores() -> (tempfile::TempDir, PathBuf, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let [old, new, kept] =
        ["signalbox.db", "signalbox.db-new", "signalbox.db.kept"].map(|name| folder.path().join(name));
    run(store_at(&old, 5));
    run(store_at(&new, 900));
    (folder, old, new, kept)
}

#[test]
fn a_restore_that_is_killed_after_any_step_leaves_the_old_store_or_the_new_one_whole() {
    let steps = {
        let (_folder, old, new, kept) = two_stores();
        swap::plan(&old, &new, Some(&kept)).len()
    };
    let mut found = Vec::new();
    for taken in 0..=steps {
        let (_folder, old, new, kept) = two_stores();
        swap::plan(&old, &new, Some(&kept)).iter().take(taken).for_each(|step| step.run().unwrap());
        found.push(run(revision_of(&old)));
        if found.last() == Some(&900) {
            assert_eq!(run(revision_of(&kept)), 5, "after {taken} steps");
        }
    }
    assert!(found.is_sorted() && found.first() == Some(&5) && found.last() == Some(&900), "{found:?}");
}

#[test]
fn a_log_that_no_server_can_use_is_kept_with_its_database_and_never_meets_the_new_one() {
    let (_folder, old, new, kept) = two_stores();
    let [log, kept_log] = [&old, &kept].map(|path| swap::beside(path, "-wal"));
    fs::write(&log, "a log of something else").unwrap();
    fs::write(swap::beside(&old, "-shm"), "of readers").unwrap();
    let before = fs::read(&old).unwrap();
    for step in swap::plan(&old, &new, Some(&kept)) {
        step.run().unwrap();
        let is_new = fs::read(&old).unwrap() != before;
        assert!(!is_new || !log.exists(), "{step:?}");
        assert!(fs::read(if log.exists() { &log } else { &kept_log }).unwrap() == b"a log of something else");
    }
    assert_eq!(run(revision_of(&old)), 900);
    assert!(fs::read(&kept).unwrap() == before && !swap::beside(&old, "-shm").exists());
}

/// Writes a backup of the database at `database`, as a server would make it.
fn packed(folder: &Path, database: &Path) -> PathBuf {
    let bytes = fs::read(database).unwrap();
    let facts = run(store::examine(database)).ok();
    let identity = facts.map(|facts| facts.identity).unwrap_or_default();
    let manifest = Manifest { store: identity, ..manifest(&bytes) };
    let path = folder.join("backup.tar");
    fs::write(&path, archive(&manifest, &bytes)).unwrap();
    path
}

fn change(database: &Path, text: &'static str) {
    use sqlx::{ConnectOptions as _, Connection as _};
    run(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql(text).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

#[test]
fn a_whole_backup_with_a_database_of_no_use_changes_nothing_and_leaves_nothing() {
    let cases: [(&'static str, &str); 6] = [
        ("insert into _sqlx_migrations values (9999, 'later', current_timestamp, true, x'00', 0)", "schema 9999"),
        ("pragma application_id = 7", "the database of another program"),
        ("update _sqlx_migrations set checksum = x'00' where version = 3", "migration 3"),
        ("drop table active", "no such table"),
        ("insert into staged values (77, 'routes', 1, '', null)", "there is no such session"),
        ("drop table registry", "no such table"),
    ];
    for (text, expected) in cases {
        let (folder, old, new, _) = two_stores();
        let before = fs::read(&old).unwrap();
        change(&new, text);
        let backup = packed(folder.path(), &new);
        fs::remove_file(&new).unwrap();
        let error = run(restore(&backup, RestorePlace { url: &url(&old), replace: true })).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
        assert!(fs::read(&old).unwrap() == before, "{text}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "{text}");
    }
}

#[test]
fn a_restore_goes_on_above_every_revision_of_both_stores() {
    for (present, expected) in
        [(Some(5), 1_000_000_000_900), (Some(7_000_000_000_000), 8_000_000_000_000), (None, 1_000_000_000_900)]
    {
        let (folder, old, new, _) = two_stores();
        let backup = packed(folder.path(), &new);
        fs::remove_file(&old).unwrap();
        if let Some(revision) = present {
            run(store_at(&old, revision));
        }
        let restored = run(restore(&backup, RestorePlace { url: &url(&old), replace: false })).unwrap();
        assert_eq!(
            (restored.revision, run(revision_of(&old)), restored.kept.is_some()),
            (expected, expected, present.is_some())
        );
    }
}

#[test]
fn two_restores_to_one_place_do_not_meet() {
    let (folder, old, new, _) = two_stores();
    let backup = packed(folder.path(), &new);
    let running = fs::File::create(store::restored_copy(&old)).unwrap();
    running.lock().unwrap();
    let error = run(restore(&backup, RestorePlace { url: &url(&old), replace: true })).unwrap_err();
    assert!(matches!(error, RestoreError::AnotherRestore(_)), "{error}");
    drop(running);
    run(restore(&backup, RestorePlace { url: &url(&old), replace: true })).unwrap();
}

#[test]
fn a_file_that_cannot_be_read_or_written_is_named() {
    let (folder, old, new, _) = two_stores();
    let backup = packed(folder.path(), &new);
    for (file, url, expected) in [
        (folder.path().join("none.tar"), url(&old), "none.tar: cannot be read"),
        (folder.path().to_owned(), url(&old), "cannot be read: is a directory"),
        (backup.clone(), "sqlite::memory:".to_owned(), "a store in memory"),
        (backup.clone(), "postgres://x".to_owned(), "is no database"),
        (backup.clone(), url(&folder.path().join("no/s.db")), "there is no directory"),
    ] {
        let said = run(restore(&file, RestorePlace { url: &url, replace: false })).unwrap_err().to_string();
        assert!(said.contains(expected), "{said}");
    }
    assert!(verify(&*fs::read(&backup).unwrap()).is_ok());
}
