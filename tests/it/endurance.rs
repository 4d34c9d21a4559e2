//! The process survives full disks, unread logs, signals and few open files, and reports them.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::server::{Backend, Server, eventually, get};
use crate::support::wire::Wire;

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
    let (terminal, terminal_end) = terminal();
    let sinks = [
        ("a full disk", full()),
        ("a pipe nobody reads", unread_end.into()),
        ("a closed pipe", closed_end.into()),
        ("a terminal that stands still", terminal_end.into()),
    ];
    for (what, sink) in sinks {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::launch_logging(talkative(folder.path()), folder.path(), sink);
        keeps_working(&server);
        assert!(server.terminate().success(), "{what}: it ends in good order");
    }
    drop((unread, terminal));
}

/// Both ends of a terminal.
fn terminal() -> (OwnedFd, File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    (ours, File::options().write(true).open(name.to_str().unwrap()).unwrap())
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

/// The program with few files to open.
fn with_files(folder: &std::path::Path, files: usize) -> Server {
    let program = Server::command(folder);
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit -n {files}; exec \"$0\" \"$@\"")).arg(program.get_program());
    command.args(program.get_args());
    Server::launch(command, folder)
}

/// Sets how many files the server may have open from now on; what is open stays open.
fn allow_files(server: &Server, files: u64) {
    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
    let pid = Pid::from_raw(server.id().try_into().unwrap());
    let maximum = getrlimit(Resource::Nofile).maximum;
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(files), maximum }).unwrap();
}

#[test]
fn running_out_of_files_is_not_counted_against_a_backend_and_ends_no_listener() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let backend = Backend::start("backend");
    let mut client = server.connect();
    let session = client.register("files", "files-1");
    client.ask(&format!("CIRCUIT_BREAKER_SET|{session}|ALL|1|1h|1"));
    client.ask(&format!("HEALTH_SET|{session}|ALL|/|100ms|1s"));
    client.serve(&session, "files.example", "/", backend.address);
    let mut asker = Wire::connect(server.proxy);
    asker.send("GET / HTTP/1.1\r\nhost: nobody.example\r\n\r\n");
    let head = asker.head().unwrap();
    asker.exactly(head.field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0));
    // Numbers below it are in use, so that nothing can be opened.
    allow_files(&server, 3);
    let waiting: Vec<TcpStream> =
        [server.pipe, server.api, server.proxy].into_iter().filter_map(|port| TcpStream::connect(port).ok()).collect();
    for _ in 0..20 {
        asker.send("GET / HTTP/1.1\r\nhost: files.example\r\n\r\n");
        let head = asker.head().unwrap();
        assert_eq!(head.status(), 503);
        asker.exactly(head.field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0));
    }
    let breaker = client.ask(&format!("CIRCUIT_BREAKER_STATUS|{session}|r1"));
    assert!(breaker.contains("\"state\":\"closed\"") && breaker.contains("\"failures\":0"), "{breaker}");
    let logged = |what: &str| std::fs::read_to_string(&server.log).unwrap().matches(what).count();
    eventually("it is told that nothing can be accepted", || logged("cannot be accepted now") > 0);
    allow_files(&server, 1024);
    eventually("there is room again", || {
        get(server.proxy, "files.example", "/").is_ok_and(|(status, _)| status == 200)
    });
    assert_eq!(get(server.api, "localhost", "/healthz").unwrap().0, 200);
    assert!(server.once("PING|nobody").starts_with("ERROR|"));
    assert_eq!(logged("\"healthy\":false"), 0);
    drop(waiting);
}

#[test]
fn a_crowd_at_one_port_leaves_the_others_their_places() {
    // Each server waits for seconds before it closes connections, so the three run at once.
    let crowds: Vec<_> =
        (0..3).map(|crowded| std::thread::spawn(move || others_are_served_beside_a_crowd(crowded))).collect();
    crowds.into_iter().for_each(|crowd| crowd.join().unwrap());
}

/// Opens 400 connections to one of the three ports of a server with 256 files, and uses the other two.
fn others_are_served_beside_a_crowd(crowded: usize) {
    let folder = tempfile::tempdir().unwrap();
    let server = with_files(folder.path(), 256);
    let ports = [server.pipe, server.api, server.proxy];
    let _crowd: Vec<TcpStream> = (0..400).filter_map(|_| TcpStream::connect(ports[crowded]).ok()).collect();
    if crowded != 0 {
        assert!(server.once("PING|nobody").starts_with("ERROR|invalid session"));
    }
    if crowded != 1 {
        assert_eq!(get(server.api, "localhost", "/healthz").unwrap().0, 200);
    }
    if crowded != 2 {
        assert_eq!(get(server.proxy, "nobody.example", "/").unwrap().0, 404);
    }
}

#[test]
fn the_server_is_not_ready_while_its_database_is_gone_and_acknowledges_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let ready = |api: SocketAddr| get(api, "localhost", "/readyz").unwrap();
    assert_eq!(ready(server.api), (200, "ok".to_owned()));
    let mut client = server.connect();
    client.register("gone", "gone-1");
    let (database, aside) = (folder.path().join("signalbox.db"), folder.path().join("aside.db"));
    std::fs::rename(&database, &aside).unwrap();
    let logged = |what: &str| std::fs::read_to_string(&server.log).unwrap().contains(what);
    eventually("it is told", || logged("was deleted or moved away"));
    eventually("it is not ready", || ready(server.api).0 == 503);
    let body = ready(server.api).1;
    assert!(body.contains("nothing can be stored now") && body.contains("\"status\":503"), "{body}");
    assert!(client.ask("REGISTER|gone|gone-2|9001|{}").starts_with("ERROR|the registry cannot store changes now"));
    std::fs::rename(&aside, &database).unwrap();
    eventually("it is ready again", || ready(server.api).0 == 200);
    client.register("gone", "gone-2");
    // Another file in its place is no better than none.
    File::create(&aside).unwrap().write_all(b"another").unwrap();
    std::fs::rename(&aside, &database).unwrap();
    eventually("it is not ready", || ready(server.api).0 == 503);
    assert!(server.terminate().success(), "it ends in good order all the same");
}

#[test]
fn a_worker_that_cannot_start_stops_the_start_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let program = Server::command(folder.path());
    // Room for the program, and not for the stacks of a thousand threads. The stacks are large, so that enough is left for
    // everything else once one of them finds no room.
    let mut command = Command::new("prlimit");
    command.arg("--as=4000000000").arg(program.get_program()).args(program.get_args());
    command.env("RUST_MIN_STACK", (64 << 20).to_string());
    let output = command.args(["--proxy-workers", "1000"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("cannot start the proxy's threads"), "{said}");
}
