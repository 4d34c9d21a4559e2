//! A restore brings everything back, and nobody takes the new state for the old one.

use std::fs;

use serde_json::Value;

use super::{Place, asked, back_up, get, instances, json, register};
use crate::server::Server;

#[test]
fn a_restored_server_has_the_sessions_and_routes_of_the_backup_and_the_other_store_is_kept() {
    let place = Place::new();
    let server = place.start();
    let session = register(&server, "a.example");
    let backup = place.file("backup.tar");
    back_up(&server, &backup);
    register(&server, "b.example");
    assert!(server.terminate().success());
    let told = place.restore(&backup, &[]).unwrap();
    assert!(told.contains("1 sessions, 1 routes") && told.contains("is kept as"), "{told}");
    let server = place.start();
    assert_eq!(instances(&server), ["a.example"]);
    assert_eq!(server.once(&format!("RECONNECT|{session}")), "OK", "its session id is as it was");
    let audit = json(server.api, "/v1/audit?action=store_restored");
    assert!(audit["items"][0]["details"]["reason"].as_str().unwrap().contains("from the backup of"), "{audit}");
    assert!(server.terminate().success());
    fs::copy(place.kept(), place.database()).unwrap();
    assert_eq!(instances(&place.start()), ["a.example", "b.example"]);
}

#[test]
fn a_restore_to_an_empty_place_or_one_without_sessions_needs_no_permission() {
    let place = Place::new();
    let server = place.start();
    register(&server, "a.example");
    back_up(&server, &place.file("backup.tar"));
    let (empty, unused, void) = (Place::new(), Place::new(), Place::new());
    assert!(unused.start().terminate().success());
    fs::write(void.database(), "").unwrap();
    for other in [&empty, &unused, &void] {
        other.restore(&place.file("backup.tar"), &[]).unwrap();
        assert_eq!(instances(&other.start()), ["a.example"]);
    }
    assert_eq!(empty.names(), ["signalbox.db", "signalbox.db-wal"], "the log is that of the killed server");
}

/// The first event of a stream that resumes after a sequence.
fn first_event(server: &Server, after: u64) -> String {
    let mut stream = asked(server.api, "GET", &format!("/v1/events?after={after}"));
    assert_eq!(stream.head().unwrap().status(), 200);
    let mut text = String::new();
    while !text.contains("event:") {
        text += &String::from_utf8(stream.chunk().unwrap()).unwrap();
    }
    text
}

#[test]
fn every_old_resume_point_hears_compacted_and_no_sequence_comes_again() {
    let place = Place::new();
    let server = place.start();
    register(&server, "a.example");
    back_up(&server, &place.file("backup.tar"));
    let at_backup = json(server.api, "/v1/overview")["revision"].as_u64().unwrap();
    (0..5).for_each(|number| drop(register(&server, &format!("{number}.example"))));
    let last = json(server.api, "/v1/overview")["revision"].as_u64().unwrap();
    assert!(server.terminate().success());
    let mut before = last;
    for _ in 0..2 {
        place.restore(&place.file("backup.tar"), &[]).unwrap();
        fs::remove_file(place.kept()).unwrap();
        let server = place.start();
        // As many changes as before, so that a revision that goes on from the backup would pass the old one.
        (0..9).for_each(|number| drop(register(&server, &format!("{number}.example"))));
        let revision = json(server.api, "/v1/overview")["revision"].as_u64().unwrap();
        assert!(revision > before + 1_000_000, "{revision}");
        for after in [0, at_backup, at_backup + 1, last - 1, last, before] {
            let event = first_event(&server, after);
            assert!(event.contains("event: compacted"), "{after}: {event}");
        }
        assert!(server.terminate().success());
        before = revision;
    }
}

#[test]
fn no_revision_that_somebody_read_before_a_restore_fits_after_it() {
    let place = Place::new();
    let server = place.start();
    let mut client = server.connect();
    let session = client.register("shop", "shop-1");
    let apply = |client: &mut crate::server::Client, number: u32| {
        client.serve(&session, &format!("{number}.example"), "/", "127.0.0.1:9".parse().unwrap());
    };
    apply(&mut client, 1);
    // One that has applied nothing yet.
    let fresh = client.register("shop", "fresh");
    back_up(&server, &place.file("backup.tar"));
    (2..5).for_each(|number| apply(&mut client, number));
    drop(client);
    assert!(server.terminate().success());
    place.restore(&place.file("backup.tar"), &[]).unwrap();
    let server = place.start();
    let mut client = server.connect();
    assert_eq!(client.ask(&format!("RECONNECT|{session}")), "OK");
    (2..5).for_each(|number| apply(&mut client, number));
    let now = json(server.api, "/v1/instances/shop/shop-1")["revision"].as_u64().unwrap();
    assert!(now > 1_000_000, "{now}");
    client.serve(&fresh, "fresh.example", "/", "127.0.0.1:9".parse().unwrap());
    assert_eq!(json(server.api, "/v1/instances/shop/fresh")["revision"], 1);
    assert_eq!(json(server.api, "/v1/instances/shop/fresh/history/1")["diff"], serde_json::json!([]));
}

#[test]
fn the_log_of_a_killed_server_is_not_read_into_the_restored_store() {
    let place = Place::new();
    let server = place.start();
    register(&server, "a.example");
    // Of the same start as the log, so that nothing in the files tells them apart.
    back_up(&server, &place.file("backup.tar"));
    register(&server, "b.example");
    server.kill();
    assert!(fs::metadata(place.file("signalbox.db-wal")).unwrap().len() > 0);
    fs::write(place.file("signalbox.db-shm"), "of a reader").unwrap();
    place.restore(&place.file("backup.tar"), &[]).unwrap();
    assert!(!place.file("signalbox.db-wal").exists() && !place.file("signalbox.db-shm").exists());
    let server = place.start();
    assert_eq!(instances(&server), ["a.example"]);
    server.kill();
    fs::remove_file(place.file("signalbox.db-wal")).unwrap();
    fs::rename(place.kept(), place.database()).unwrap();
    assert_eq!(instances(&place.start()), ["a.example", "b.example"], "the log is in the kept one");
}

#[test]
fn a_log_of_another_database_is_kept_and_not_read() {
    let place = Place::new();
    let server = place.start();
    register(&server, "a.example");
    back_up(&server, &place.file("backup.tar"));
    server.kill();
    let (wal, log) = (place.file("signalbox.db-wal"), fs::read(place.file("signalbox.db-wal")).unwrap());
    assert!(place.start().terminate().success());
    fs::write(&wal, &log).unwrap();
    let refused = place.restore(&place.file("backup.tar"), &[]).unwrap_err();
    assert!(refused.contains("belongs to another database file") && refused.contains("--replace"), "{refused}");
    assert!(fs::read(&wal).unwrap() == log);
    place.restore(&place.file("backup.tar"), &["--replace"]).unwrap();
    assert!(fs::read(super::log_of(&place.kept())).unwrap() == log);
    assert_eq!(instances(&place.start()), ["a.example"]);
}

#[test]
fn a_symbolic_link_stays_one_and_the_mode_is_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let (place, far) = (Place::new(), Place::new());
    let server = place.start();
    register(&server, "a.example");
    back_up(&server, &place.file("backup.tar"));
    assert!(server.terminate().success());
    fs::rename(place.database(), far.database()).unwrap();
    std::os::unix::fs::symlink(far.database(), place.database()).unwrap();
    place.restore(&place.file("backup.tar"), &[]).unwrap();
    assert!(fs::symlink_metadata(place.database()).unwrap().is_symlink());
    assert_eq!(fs::metadata(far.database()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(instances(&place.start()), ["a.example"]);
}

#[test]
fn a_backup_of_a_restored_store_is_a_backup_of_the_same_store() {
    let place = Place::new();
    let server = place.start();
    register(&server, "a.example");
    back_up(&server, &place.file("first.tar"));
    assert!(server.terminate().success());
    place.restore(&place.file("first.tar"), &[]).unwrap();
    let server = place.start();
    register(&server, "b.example");
    back_up(&server, &place.file("second.tar"));
    assert!(server.terminate().success());
    for (backup, expected) in [("first.tar", &["a.example"][..]), ("second.tar", &["a.example", "b.example"])] {
        place.restore(&place.file(backup), &[]).unwrap();
        let server = place.start();
        assert_eq!(instances(&server), expected);
        assert!(server.terminate().success());
    }
    let answer: Value = {
        let server = place.start();
        assert_eq!(get(server.api, "/readyz").status(), 200);
        json(server.api, "/v1/overview")
    };
    assert!(answer["revision"].as_u64().unwrap() > 3_000_000_000_000);
}
