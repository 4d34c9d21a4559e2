//! Messages of the program when it cannot start: each names the fault and says what to write.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::server::{Server, get};
use crate::support::wire::Wire;

/// Runs the program, which is to refuse to start, and gives what it says.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{said}");
    said
}

fn program(folder: &Path) -> Command {
    Server::command(folder)
}

#[test]
fn a_wrong_variable_is_named_and_an_empty_one_is_none() {
    let folder = tempfile::tempdir().unwrap();
    for (name, value, words) in [
        ("SIGNALBOX_PROXY_WORKERS", "lots", "a whole number from 0 to 1024"),
        ("SIGNALBOX_LOG_LEVEL", "verbose", "write error, warn, info"),
        ("SIGNALBOX_PROXY_UNMATCHED", "403", "write \"404\" or \"close\""),
        ("SIGNALBOX_PIPE_INSECURE", "perhaps", "neither true nor false"),
        ("SIGNALBOX_PROXY_TRUSTED_PROXIES", "10.0.0.0/8,x", "write 10.0.0.0/8"),
        ("SIGNALBOX_SESSION_GRACE", "soon", "30s"),
    ] {
        let said = refused(program(folder.path()).env(name, value));
        assert!(said.contains(name) && said.contains(words), "{name}: {said}");
    }
    let mut command = program(folder.path());
    for name in
        ["CONFIG", "PROXY_WORKERS", "LOG_LEVEL", "PIPE_INSECURE", "API_OPERATOR_TOKENS", "BACKENDS_CA", "SESSION_GRACE"]
    {
        command.env(format!("SIGNALBOX_{name}"), "");
    }
    let server = Server::launch(command, folder.path());
    assert_eq!(get(server.api, "localhost", "/readyz").unwrap().0, 200);
}

#[test]
fn flags_stand_before_and_behind_the_command() {
    for words in [&["serve", "--proxy-workers", "1"][..], &["--proxy-workers", "1", "serve"], &["serve"]] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = program(folder.path());
        command.args(words);
        assert!(Server::launch(command, folder.path()).terminate().success(), "{words:?}");
    }
}

#[test]
fn a_check_says_what_a_start_would_say_and_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("signalbox.toml");
    let store = folder.path().join("never.db");
    let run = |words: &[&str], content: &str| {
        std::fs::write(&file, content).unwrap();
        let mut command = Command::new(program(folder.path()).get_program());
        let output =
            command.args(words).arg("--store-url").arg(format!("sqlite://{}", store.display())).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let path = file.to_str().unwrap();
    let (code, said, _) = run(&["check", path], "[session]\ngrace = \"1m\"\n");
    assert_eq!((code, said), (Some(0), format!("{path} is valid\n")));
    for wrong in [
        "[session]\ngrace = \"soon\"\n",
        "[pipe]\nlisten = \"0.0.0.0:0\"\n",
        "[backends]\nca = \"no.such.pem\"\n",
        "[log.access]\nfile = \"no.such.folder/access.log\"\n",
        "[log.access]\nfile = \"/\"\n",
        "[api]\nlisten = \"127.0.0.1:0\"\ncert = \"no.such.pem\"\nkey = \"no.such.pem\"\n",
    ] {
        let (code, said, error) = run(&["check", path], wrong);
        let (_, _, at_start) = run(&["--config", path, "--api-listen", ":0", "--proxy-http", ":0"], wrong);
        // The log of the start stands before it.
        let at_start = at_start.lines().last().unwrap_or_default();
        assert_eq!((code, said.as_str(), error.trim_end()), (Some(1), "", at_start), "{wrong}");
    }
    assert!(!store.exists());
}

#[test]
fn a_port_alone_is_one_of_this_machine() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(program(folder.path()).get_program());
    command.args(["--store-url", "sqlite::memory:", "--pipe-listen", "0", "--api-listen", ":0"]);
    command.args(["--proxy-http", "localhost:0"]);
    let server = Server::launch(command, folder.path());
    assert!(server.pipe.ip().is_loopback() && server.api.ip().is_loopback() && server.proxy.ip().is_loopback());
}

#[test]
fn a_store_that_cannot_be_is_told_without_its_secrets() {
    for (url, words) in [
        ("postgres://me:hunter2@db/x", "write sqlite://signalbox.db"),
        ("/proc/a.db", "no file can be made in /proc"),
        ("/no/such/folder/a.db", "there is no directory `/no/such/folder`"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program(folder.path()).get_program());
        command.args(["--pipe-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--proxy-http", "127.0.0.1:0"]);
        let said = refused(command.args(["--store-url", url]));
        assert!(said.contains(words) && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn a_database_that_this_user_may_not_write_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("signalbox.db");
    assert!(Server::start(folder.path()).terminate().success());
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    for mode in [0o444, 0o000] {
        std::fs::set_permissions(&database, PermissionsExt::from_mode(mode)).unwrap();
        let said = refused(&mut as_somebody(folder.path()));
        assert!(said.contains("signalbox.db") && said.contains("check the owner and permissions"), "{said}");
        assert!(!said.contains("disk I/O error"), "{said}");
    }
}

/// The program as an ordinary user, whom permissions bind: root is bound by none.
fn as_somebody(folder: &Path) -> Command {
    let given = program(folder);
    if !rustix::process::geteuid().is_root() {
        return given;
    }
    let copy = folder.join("program");
    if !copy.exists() {
        std::fs::hard_link(given.get_program(), &copy)
            .or_else(|_| std::fs::copy(given.get_program(), &copy).map(drop))
            .unwrap();
    }
    let mut command = Command::new(copy);
    command.args(given.get_args()).uid(65_534).gid(65_534).current_dir(folder);
    command
}

#[test]
fn a_method_that_a_path_does_not_take_is_told_those_that_it_takes() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    for (method, path, methods) in [
        ("DELETE", "/v1/sessions", "it takes POST"),
        ("PUT", "/v1/session/routes/r1", "it takes PATCH, DELETE"),
        ("POST", "/healthz", "it takes GET, HEAD"),
    ] {
        let mut wire = Wire::connect(server.api);
        wire.send(format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"));
        let answer = wire.message().unwrap();
        let said = answer.text();
        assert_eq!(answer.status(), 405, "{said}");
        assert!(said.contains(methods) && answer.field("allow").is_some(), "{said}");
    }
}
