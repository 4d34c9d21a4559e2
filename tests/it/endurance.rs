//! Nothing dies in silence: what the process lives through, and what it says about it.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use crate::server::{Server, eventually};

/// The program with a log of so many lines that nobody could miss what becomes of them.
fn talkative(folder: &std::path::Path) -> Command {
    let mut command = Server::command(folder);
    command.args(["--log-level", "trace"]);
    command
}

/// Has the server do a thousand things that are logged, and still answer.
fn keeps_working(server: &Server) {
    let mut client = server.connect();
    let session = client.register("endurance", "endurance-1");
    for _ in 0..200 {
        assert!(server.once("PING|nobody").starts_with("ERROR|"));
    }
    assert_eq!(client.ask(&format!("CONFIG_APPLY|{session}")), "OK");
}

#[test]
fn a_log_that_nobody_takes_stops_nothing() {
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let (unread, unread_end) = std::io::pipe().unwrap();
    let (closed, closed_end) = std::io::pipe().unwrap();
    drop(closed);
    let sinks =
        [("a full disk", full()), ("a pipe nobody reads", unread_end.into()), ("a closed pipe", closed_end.into())];
    for (what, sink) in sinks {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::launch_logging(talkative(folder.path()), folder.path(), sink);
        keeps_working(&server);
        assert!(server.terminate().success(), "{what}: it ends in good order");
    }
    drop(unread);
}

#[test]
fn dropped_log_lines_are_told_of_once_somebody_reads_again_and_the_last_lines_arrive() {
    let folder = tempfile::tempdir().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let server = Server::launch_logging(talkative(folder.path()), folder.path(), writer.into());
    // A pipe holds 64 KiB, the queue 4 MiB; each connection logs some hundred bytes.
    for _ in 0..40 {
        let mut client = server.connect();
        for _ in 0..500 {
            client.ask("PING|nobody");
        }
    }
    let log = std::thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    assert!(server.terminate().success());
    let log = log.join().unwrap();
    assert!(log.trim_end().ends_with('}') && log.contains("\"stopped\""), "the last line arrives");
}

#[test]
fn no_signal_kills_and_quit_stops_as_term_does() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for name in ["HUP", "USR1", "USR2", "PIPE"] {
        server.signal(name);
    }
    let logged = |what: &str| std::fs::read_to_string(&server.log).unwrap().contains(what);
    for name in ["SIGHUP", "SIGUSR1", "SIGUSR2"] {
        eventually("the signal is logged", || logged(name));
    }
    assert!(server.once("PING|nobody").starts_with("ERROR|"));
    server.signal("QUIT");
    assert!(server.wait().success());
}

#[test]
fn the_limit_of_open_files_is_raised_and_a_lower_one_than_needed_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let program = Server::command(folder.path());
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 256; ulimit -Hn 2048; exec \"$0\" \"$@\""]).arg(program.get_program());
    command.args(program.get_args());
    let server = Server::launch(command, folder.path());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.id())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert!(files.split_whitespace().nth(3) == Some("2048"), "{files}");
    let log = std::fs::read_to_string(&server.log).unwrap();
    assert!(log.contains("the limit of open files (2048) is lower"), "{log}");
}
