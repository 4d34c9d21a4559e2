//! A restore that is refused changes nothing, and says what the file or the store is.

use std::fs;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions as _, Connection as _};

use super::{Place, back_up, instances, register};
use crate::server::{Dice, Server};

/// A place with a store and a backup of it.
fn backed_up() -> (Place, PathBuf) {
    let place = Place::new();
    let server = place.start();
    register(&server, "a.example");
    let backup = place.file("backup.tar");
    back_up(&server, &backup);
    assert!(server.terminate().success());
    (place, backup)
}

/// Another program's database.
fn foreign(path: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        sqlx::raw_sql("create table t (x); insert into t values (1)").execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    });
}

/// Expects that a restore is refused, changes no file, and says `expected`.
fn assert_refused(place: &Place, backup: &Path, flags: &[&str], expected: &str) {
    let contents = || place.names().iter().map(|name| fs::read(place.file(name)).unwrap()).collect::<Vec<_>>();
    let (names, before) = (place.names(), contents());
    let said = place.restore(backup, flags).unwrap_err();
    assert!(said.contains(expected) && said.lines().count() == 1, "{expected}: {said}");
    assert!(place.names() == names && contents() == before, "{expected}: {names:?} became {:?}", place.names());
}

#[test]
fn a_damaged_or_truncated_backup_changes_nothing() {
    let (place, backup) = backed_up();
    let whole = fs::read(&backup).unwrap();
    let damaged = place.file("damaged.tar");
    let mut dice = Dice(7);
    let (head, body) = (2560, whole.len() - 2560);
    let mut cases: Vec<Vec<u8>> =
        [0, 5, 511, 512, 1024, 2000, head, head + body / 2, whole.len() - 1025, whole.len() - 1]
            .map(|length| whole[..length].to_vec())
            .into();
    let anywhere: Vec<usize> = (0..6).map(|_| dice.below(whole.len())).collect();
    let chosen = [0, 124, 600, 1030, 1100, 1700, head - 300, head + 18, head + 4096, whole.len() - 600];
    for at in chosen.into_iter().chain(anywhere) {
        let mut changed = whole.clone();
        changed[at] ^= 1 << dice.below(8);
        cases.push(changed);
    }
    cases.push([&whole[..], b"x"].concat());
    cases.push(vec![0; whole.len()]);
    for case in cases {
        fs::write(&damaged, case).unwrap();
        assert_refused(&place, &damaged, &["--replace"], "damaged.tar: is ");
        let checked = place.restore(&damaged, &["--check"]).unwrap_err();
        assert!(checked.contains("not a backup that can be restored"), "{checked}");
    }
    assert_eq!(instances(&place.start()), ["a.example"]);
}

#[test]
fn other_files_are_no_backups() {
    let (place, _) = backed_up();
    let other = place.file("other");
    foreign(&other);
    assert_refused(&place, &other, &["--replace"], "is not a backup of Signalbox: it is a bare database");
    let archive =
        std::process::Command::new("tar").args(["-cf", "other.tar", "other"]).current_dir(place.path()).status();
    assert!(archive.unwrap().success());
    assert_refused(&place, &place.file("other.tar"), &["--replace"], "is not a backup of Signalbox");
    fs::write(&other, "[proxy]\nhttp = 1\n").unwrap();
    assert_refused(&place, &other, &["--replace"], "is not a backup of Signalbox: it is something else");
    assert_refused(&place, &place.file("none.tar"), &[], "none.tar: cannot be read: No such file");
    assert_refused(&place, place.path(), &[], "cannot be read: is a directory");
}

#[test]
fn a_running_server_keeps_its_store() {
    let place = Place::new();
    let server = place.start();
    register(&server, "a.example");
    let backup = place.file("backup.tar");
    back_up(&server, &backup);
    for flags in [&[][..], &["--replace"]] {
        let said = place.restore(&backup, flags).unwrap_err();
        assert!(said.contains("in use by another process"), "{said}");
        // The log is empty now, and nothing in the files shows that the server runs.
        back_up(&server, &backup);
    }
    register(&server, "b.example");
    assert_eq!(instances(&server), ["a.example", "b.example"]);
    server.kill();
    assert_eq!(instances(&place.start()), ["a.example", "b.example"]);
}

#[test]
fn another_store_is_replaced_only_on_demand_and_then_kept() {
    let (_, backup) = backed_up();
    let (source, backup_of) = backed_up();
    drop(backup);
    let place = Place::new();
    let server = place.start();
    register(&server, "mine.example");
    assert!(server.terminate().success());
    assert_refused(&place, &backup_of, &[], "holds another store than the backup (1 sessions, 1 routes)");
    place.restore(&backup_of, &["--replace"]).unwrap();
    assert_eq!(instances(&place.start()), ["a.example"]);
    fs::copy(place.kept(), source.database()).unwrap();
    let _ = fs::remove_file(super::log_of(&source.database()));
    assert_eq!(instances(&source.start()), ["mine.example"]);
}

#[test]
fn a_damaged_store_is_replaced_only_on_demand_and_another_program_s_never() {
    let (place, backup) = backed_up();
    let whole = fs::read(place.database()).unwrap();
    fs::write(place.database(), &whole[..whole.len() / 2]).unwrap();
    assert_refused(&place, &backup, &[], "is damaged, or no database at all");
    place.restore(&backup, &["--replace"]).unwrap();
    assert!(fs::read(place.kept()).unwrap() == whole[..whole.len() / 2]);
    assert_eq!(instances(&place.start()), ["a.example"]);
    let other = Place::new();
    foreign(&other.database());
    for flags in [&[][..], &["--replace"]] {
        assert_refused(&other, &backup, flags, "is the database of another program");
    }
}

#[test]
fn wrong_words_on_the_command_line_are_told() {
    let place = Place::new();
    let mut nothing = std::process::Command::new(env!("CARGO_BIN_EXE_signalbox"));
    let ended = nothing.arg("restore").output().unwrap();
    assert!(!ended.status.success());
    assert!(String::from_utf8(ended.stderr).unwrap().contains("<FILE>"));
    let server = Server::start(place.path());
    assert!(server.terminate().success());
}
