//! The output on a terminal: its width, its colours, and the terminal after a live table.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{command, ctl};
use crate::server::eventually;
use crate::support::backend::{Backend, closed_port};
use crate::support::server_harness::ServerHarness;

/// Runs words of `ctl` on a terminal of so many columns, and returns what it shows and the exit status.
fn on_terminal(harness: &ServerHarness, columns: u16, words: &[&str], variables: &[(&str, &str)]) -> (String, i32) {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    tcsetwinsize(&ours, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let url = format!("http://{}", harness.server().api);
    let mut command = command(&[words, &["--api", &url]].concat());
    command
        .envs(variables.iter().copied())
        .stdout(Stdio::from(theirs.try_clone().unwrap()))
        .stderr(Stdio::from(theirs));
    let mut child = command.spawn().unwrap();
    // It holds ends of the terminal, which must close for the reader to see an end.
    drop(command);
    let text = read(ours);
    (text, child.wait().unwrap().code().unwrap())
}

/// Reads until nobody has the other end.
fn read(terminal: OwnedFd) -> String {
    let (mut terminal, mut bytes, mut part) = (File::from(terminal), Vec::new(), [0; 4096]);
    // The end of a terminal is an error.
    while let Ok(read @ 1..) = terminal.read(&mut part) {
        bytes.extend_from_slice(&part[..read]);
    }
    String::from_utf8(bytes).unwrap().replace("\r\n", "\n")
}

/// Removes the codes of colours.
fn uncolored(text: &str) -> String {
    ["\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"].iter().fold(text.to_owned(), |text, code| text.replace(code, ""))
}

fn long_named(harness: &ServerHarness) -> impl Sized {
    let mut instance = harness.empty("an-instance-with-quite-a-long-name-of-its-own");
    let down = closed_port();
    instance.add(
        "a-long-domain-name.of-some-department.example",
        "/with/a/path/as-long-as-it-gets",
        &format!("http://{down}"),
    );
    instance.apply();
    eventually("it is checked", || harness.told("/v1/routes")["items"][0]["healthy"] == false);
    instance
}

#[test]
fn tables_fit_the_columns_of_the_terminal_and_have_colours() {
    let harness = ServerHarness::open();
    let _instance = long_named(&harness);
    let name = "shop/an-instance-with-quite-a-long-name-of-its-own";
    for columns in [80, 60, 132] {
        for words in [
            &["status"][..],
            &["services"],
            &["instances"],
            &["instances", name],
            &["routes"],
            &["stats"],
            &["explain", "a-long-domain-name.of-some-department.example", "/with/a/path/as-long-as-it-gets/x"],
            &["diff", name],
            &["audit"],
            &["why"],
        ] {
            let (text, status) = on_terminal(&harness, columns, words, &[]);
            assert_eq!(status, 0, "{words:?}: {text}");
            let plain = uncolored(&text);
            assert!(!plain.contains('\x1b'), "{words:?}: {plain:?}");
            let widest = plain.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            assert!(widest <= usize::from(columns), "{words:?} takes {widest} of {columns}:\n{plain}");
        }
    }
    let (routes, _) = on_terminal(&harness, 80, &["routes"], &[]);
    assert!(routes.contains("\x1b[31munhealthy") && routes.contains('…'), "{routes:?}");
    let whole = ctl(&harness, &["routes"]).out;
    assert!(whole.contains(name) && !whole.contains(['…', '\x1b']), "{whole}");
}

#[test]
fn no_color_and_a_terminal_without_colours_are_obeyed() {
    let harness = ServerHarness::open();
    let _instance = long_named(&harness);
    for variable in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (text, _) = on_terminal(&harness, 80, &["routes"], &[variable]);
        assert!(!text.contains('\x1b') && text.contains("unhealthy"), "{variable:?}: {text:?}");
    }
    let (text, _) = on_terminal(&harness, 80, &["routes"], &[("NO_COLOR", "")]);
    assert!(text.contains('\x1b'), "an empty NO_COLOR counts as not set");
    let (json, _) = on_terminal(&harness, 80, &["routes", "--json"], &[]);
    assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json:?}");
}

#[test]
fn a_live_table_leaves_the_terminal_as_it_was() {
    let harness = ServerHarness::open();
    let _instance = harness.instance("shop-1", &Backend::named("shop"));
    let (text, status) = on_terminal(&harness, 80, &["top", "--interval", "10ms", "--rounds", "2"], &[]);
    assert_eq!(status, 0);
    assert!(text.starts_with("\x1b[?1049h\x1b[?25l") && text.ends_with("\x1b[?25h\x1b[?1049l"), "{text:?}");
    assert_eq!(text.matches("REQUESTS/S").count(), 2, "{text:?}");
}

#[test]
fn progress_is_one_line_that_goes() {
    let harness = ServerHarness::open();
    let _instance = harness.instance("shop-1", &Backend::named("shop"));
    let words = ["drain", "shop/shop-1", "--duration", "700ms", "--wait"];
    let (text, status) = on_terminal(&harness, 80, &words, &[]);
    assert_eq!(status, 0, "{text}");
    assert!(
        text.contains("\r\x1b[Kshop/shop-1 has ") && text.ends_with("\r\x1b[Kshop/shop-1 is drained\n"),
        "{text:?}"
    );
}
