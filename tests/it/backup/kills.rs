//! A restore that is killed leaves the old store or the new one, whole.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use super::{Place, back_up, instances, register};

#[test]
fn a_restore_that_is_killed_at_any_time_leaves_a_whole_store() {
    const KILLS: u32 = 12;
    let place = Place::new();
    let server = place.start();
    register(&server, "old.example");
    let backup = place.file("backup.tar");
    back_up(&server, &backup);
    register(&server, "new.example");
    server.kill();
    let originals =
        ["signalbox.db", "signalbox.db-wal"].map(|name| (place.file(name), fs::read(place.file(name)).unwrap()));
    let reset = || {
        for name in place.names().iter().filter(|name| *name != "backup.tar") {
            fs::remove_file(place.file(name)).unwrap();
        }
        originals.iter().for_each(|(path, content)| fs::write(path, content).unwrap());
    };
    let began = Instant::now();
    place.restore(&backup, &[]).unwrap();
    let whole = began.elapsed();
    for number in 0..KILLS {
        reset();
        let mut child = place.restoring(&backup, &[]).stdout(std::process::Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_secs_f64(whole.as_secs_f64() * f64::from(number) / f64::from(KILLS)));
        child.kill().unwrap();
        child.wait().unwrap();
        let server = place.start();
        let found = instances(&server);
        assert!(found == ["old.example"] || found == ["new.example", "old.example"], "kill {number}: {found:?}");
        assert!(!place.names().iter().any(|name| name.contains("-restored")), "{:?}", place.names());
        server.kill();
        reset();
        place.restore(&backup, &[]).unwrap();
    }
}
