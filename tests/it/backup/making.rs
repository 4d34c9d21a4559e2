//! The backup of a running server: one moment, for operators, one at a time, with nothing left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{Place, asked, back_up, get, instances, json, register};
use crate::server::{Server, eventually};

#[test]
fn a_backup_under_load_is_one_moment_with_everything_that_was_answered_before() {
    const CLIENTS: usize = 4;
    const BACKUPS: usize = 5;
    let (place, stop) = (Place::new(), AtomicBool::new(false));
    let server = place.start();
    let answered: [AtomicUsize; CLIENTS] = Default::default();
    let promised = thread::scope(|scope| {
        for (client, answered) in answered.iter().enumerate() {
            let (server, stop) = (&server, &stop);
            scope.spawn(move || {
                let mut pipe = server.connect();
                let session = pipe.register("load", &format!("load-{client}"));
                // Each apply adds two routes, which every moment has both of or neither.
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    for half in ["a", "b"] {
                        let route = format!("{half}{number}.c{client}.example|/|http://127.0.0.1:9|0");
                        assert!(pipe.ask(&format!("ROUTE_ADD|{session}|{route}")).starts_with("ROUTE_OK|"));
                    }
                    assert_eq!(pipe.ask(&format!("CONFIG_APPLY|{session}")), "OK");
                    answered.store(number + 1, Ordering::SeqCst);
                }
            });
        }
        let mut promised = Vec::new();
        for number in 0..BACKUPS {
            eventually("everybody has applied more", || {
                answered.iter().all(|answered| answered.load(Ordering::SeqCst) > 4 * number)
            });
            promised.push(answered.each_ref().map(|answered| answered.load(Ordering::SeqCst)));
            back_up(&server, &place.file(&format!("{number}.tar")));
        }
        stop.store(true, Ordering::SeqCst);
        promised
    });
    assert!(server.terminate().success());
    for (number, promised) in promised.iter().enumerate() {
        let copy = Place::new();
        copy.restore(&place.file(&format!("{number}.tar")), &[]).unwrap();
        let server = copy.start();
        for (client, promised) in promised.iter().enumerate() {
            let list = json(server.api, &format!("/v1/routes?limit=1000&instance=load/load-{client}"));
            let routes = list["items"].as_array().unwrap().len();
            assert!(
                routes.is_multiple_of(2) && routes >= 2 * promised,
                "backup {number}: {routes} of {promised} pairs"
            );
        }
    }
}

#[test]
fn a_backup_is_a_tar_archive_that_common_tools_check_and_take_apart() {
    let place = Place::new();
    let server = place.start();
    register(&server, "a.example");
    let answer = get(server.api, "/v1/backup");
    assert_eq!(answer.field("content-type"), Some("application/octet-stream"));
    assert!(answer.field("content-disposition").unwrap().starts_with("attachment; filename=\"signalbox-20"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let file = place.file("backup.tar");
    fs::write(&file, answer.body).unwrap();
    for (program, arguments) in [("tar", ["-xf", "backup.tar"]), ("sha256sum", ["-c", "SHA256SUMS"])] {
        let status = Command::new(program).args(arguments).current_dir(place.path()).status().unwrap();
        assert!(status.success(), "{program}");
    }
    // `tar` has put the copy in the place of the server's file, which is a name only.
    let mode = fs::metadata(place.database()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(place.file("manifest.json")).unwrap()).unwrap();
    assert_eq!((&manifest["format"], &manifest["sessions"], &manifest["routes"]), (&1.into(), &1.into(), &1.into()));
    let checked = place.restore(&file, &["--check"]).unwrap();
    assert!(checked.contains("backup.tar is whole") && checked.contains("1 sessions, 1 routes"), "{checked}");
}

#[test]
fn one_backup_is_made_at_a_time_and_a_reader_that_goes_makes_room() {
    let place = Place::new();
    let server = place.start();
    register(&server, "a.example");
    // More than the sockets between hold.
    let mut client = server.connect();
    let session = client.register("shop", "large");
    let page = "x".repeat(60_000);
    for number in 0..300 {
        let reply = client.ask(&format!("HEADERS_SET|{session}|ALL|X-Large-{number}|{}", &page[..8_000]));
        assert_eq!(reply, "HEADERS_OK");
    }
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
    let mut unread = asked(server.api, "GET", "/v1/backup");
    assert_eq!(unread.head().unwrap().status(), 200);
    let refused = get(server.api, "/v1/backup");
    assert_eq!((refused.status(), refused.field("retry-after")), (429, Some("30")));
    assert!(refused.text().contains("another backup is being made"), "{}", refused.text());
    assert_eq!(client.ask(&format!("PING|{session}")), "PONG");
    register(&server, "b.example");
    drop(unread);
    eventually("the place is free again", || get(server.api, "/v1/backup").status() == 200);
}

#[test]
fn a_backup_leaves_no_copy_beside_the_store_and_a_start_removes_one_that_was_left() {
    let place = Place::new();
    let server = place.start();
    register(&server, "a.example");
    back_up(&server, &place.file("first.tar"));
    assert!(!place.names().iter().any(|name| name.contains("-backup")), "{:?}", place.names());
    server.kill();
    for name in ["signalbox.db-backup", "signalbox.db-restored", "signalbox.db-restored-journal"] {
        fs::write(place.file(name), "left by a kill").unwrap();
    }
    let server = place.start();
    assert!(!place.names().iter().any(|name| name.contains("-backup") || name.contains("-restored")));
    assert_eq!(instances(&server), ["a.example"]);
}

#[test]
fn changes_after_a_backup_are_kept_as_ever() {
    let place = Place::new();
    let server = place.start();
    for number in 0..5 {
        register(&server, &format!("i{number}.example"));
        back_up(&server, &place.file("backup.tar"));
    }
    register(&server, "last.example");
    server.kill();
    let server = place.start();
    assert_eq!(instances(&server).len(), 6);
}

#[test]
fn only_operators_get_a_backup_and_the_audit_has_it() {
    let place = Place::new();
    let config = place.file("signalbox.toml");
    fs::write(&config, "[[operators]]\nname = \"ann\"\ntoken = \"0123456789abcdef\"\n").unwrap();
    let server = Server::start_with(place.path(), &["--config", config.to_str().unwrap()]);
    assert_eq!(get(server.api, "/v1/backup").status(), 401);
    let mut wire = crate::support::wire::Wire::connect(server.api);
    let head = "HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer 0123456789abcdef\r\n\r\n";
    wire.send(format!("GET /v1/backup {head}"));
    assert_eq!(wire.message().unwrap().status(), 200);
    wire.send(format!("GET /v1/audit?action=backup_made {head}"));
    let audit: serde_json::Value = serde_json::from_slice(&wire.message().unwrap().body).unwrap();
    let [record] = audit["items"].as_array().unwrap().as_slice() else { panic!("{audit}") };
    assert_eq!((&record["actor"]["name"], &record["interface"]), (&"ann".into(), &"rest".into()));
    assert!(record["details"]["reason"].as_str().unwrap().contains("bytes"), "{record}");
}

#[test]
fn a_store_in_memory_has_no_backup() {
    let place = Place::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_signalbox"));
    for port in ["--pipe-listen", "--api-listen", "--proxy-http"] {
        command.args([port, "127.0.0.1:0"]);
    }
    command.args(["--store-url", "sqlite::memory:"]);
    let server = Server::launch(command, place.path());
    let refused = get(server.api, "/v1/backup");
    assert_eq!(refused.status(), 409);
    assert!(refused.text().contains("nothing to back up"), "{}", refused.text());
}
