//! Files that change while the server is away, and instances that move between files.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{Home, problems, service, until_served};
use crate::server::Backend;

#[test]
fn a_restart_follows_files_that_changed_or_went_meanwhile_and_keeps_those_that_are_mistyped() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let home = Home::new(&service("main", &one));
    for name in ["gone", "changed", "wrong", "same"] {
        home.write(&format!("conf.d/{name}.toml"), &service(name, &one));
    }
    let server = home.start();
    server.kill();
    home.remove("conf.d/gone.toml");
    home.write("conf.d/changed.toml", &service("changed", &two));
    home.write("conf.d/wrong.toml", "[[services]\n");
    let server = home.start();
    assert_eq!(server.get("gone.example", "/").0, 404);
    for (name, backend) in [("main", "one"), ("changed", "two"), ("wrong", "one"), ("same", "one")] {
        assert!(server.get(&format!("{name}.example"), "/").1.starts_with(backend), "{name}");
    }
    assert!(problems(&server)[0].starts_with("wrong.toml:1: "), "{:?}", problems(&server));
    server.kill();
    std::fs::remove_dir_all(home.path("conf.d")).unwrap();
    home.write("signalbox.toml", "");
    let server = home.start();
    for name in ["main", "changed", "wrong", "same"] {
        assert_eq!(server.get(&format!("{name}.example"), "/").0, 404, "{name}");
    }
}

#[test]
fn a_service_moves_from_one_file_to_another_without_a_gap() {
    let one = Backend::start("one");
    let home = Home::new("");
    let server = home.start();
    for (from, to) in [("a", "b"), ("b", "a")] {
        home.write(&format!("conf.d/{from}.toml"), &service("moving", &one));
        until_served(&server, "moving.example", Some("one"));
        let (stop, gaps) = (AtomicBool::new(false), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    gaps.fetch_or(server.get("moving.example", "/").0 != 200, Ordering::Relaxed);
                }
            });
            // The new file comes first, and waits until the old one lets go.
            home.write(&format!("conf.d/{to}.toml"), &service("moving", &one));
            home.remove(&format!("conf.d/{from}.toml"));
            until_held(&server, &format!("conf.d/{to}.toml"));
            stop.store(true, Ordering::Relaxed);
        });
        assert!(!gaps.load(Ordering::Relaxed), "{from} to {to}");
    }
}

fn until_held(server: &crate::server::Server, file: &str) {
    crate::server::eventually(&format!("{file} holds it"), || {
        let (_, instances) = super::operate(server, "GET", "/v1/instances");
        instances["items"][0]["owner_file"] == file && problems(server).is_empty()
    });
}
