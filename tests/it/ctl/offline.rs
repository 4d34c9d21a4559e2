//! Commands that need no server: tokens, completions, manual pages; and the documents that tell of all commands.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::{command, run};
use crate::server::Server;

#[test]
fn a_new_token_works_as_it_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let operator = run(&["token", "new", "operator", "ann", "--json"]).json();
    let registration = run(&["token", "new", "registration", "team-a", "--json"]).json();
    let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap().to_owned();
    let file = folder.path().join("signalbox.toml");
    fs::write(&file, text(&operator, "configuration") + &text(&registration, "configuration")).unwrap();
    let mut program = Server::command(folder.path());
    program.args(["--config", file.to_str().unwrap()]);
    let server = Server::launch(program, folder.path());
    let url = format!("http://{}", server.api);
    let token = text(&operator, "token");
    let output = command(&["evict", "shop/a", "--api", &url]).env("SIGNALBOX_CTL_TOKEN", &token).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("no instance shop/a"), "the token was accepted: {said}");
    let metadata = format!(r#"{{"token":"{}"}}"#, text(&registration, "token"));
    let mut client = server.connect();
    assert!(client.ask(&format!("REGISTER|shop|a|9001|{metadata}")).starts_with("ACK|"));
    assert!(client.ask("REGISTER|shop|b|9001|{}").starts_with("ERROR"));

    let lines = run(&["token", "new", "operator", "ann"]);
    assert!(
        lines.out.contains("[[operators]]\nname = \"ann\"\ntoken = \"") && lines.out.contains("SIGNALBOX_CTL_TOKEN=")
    );
    assert_ne!(text(&operator, "token"), text(&run(&["token", "new", "operator", "ann", "--json"]).json(), "token"));
    run(&["token", "new", "operator", "a\nb"]).fails(2, "the name of the token");
}

#[test]
fn completions_are_scripts_of_their_shells() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = run(&["completions", shell]);
        assert_eq!((ran.code, ran.err.as_str()), (0, ""));
        assert!(ran.out.contains("maintenance"), "{shell}");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), &ran.out).unwrap();
        // Only bash is on every machine.
        if shell == "bash" {
            assert!(Command::new("bash").arg("-n").arg(file.path()).status().unwrap().success());
        }
    }
}

#[test]
fn manual_pages_are_printed_and_written() {
    let page = run(&["man"]).out;
    assert!(page.contains(".TH ") && page.contains("maintenance"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let files = run(&["man", "--dir", folder.path().to_str().unwrap()]).out;
    assert!(files.contains("signalbox-ctl-wait-drained.1"), "{files}");
    run(&["man", "--dir", "/nowhere/at/all"]).fails(1, "cannot write the pages");
}

/// Returns the commands that a help text lists.
fn listed(words: &[&str]) -> BTreeSet<String> {
    let help = run(&[words, &["--help"]].concat()).out;
    let commands = help.split("Commands:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
    let names = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn the_documents_tell_of_each_command_and_each_exit_status() {
    let documents = fs::read_to_string("docs/ctl.md").unwrap();
    let commands = listed(&[]);
    assert!(commands.len() > 20, "{commands:?}");
    for name in commands {
        let below = listed(&[&name]);
        let spelled = |words: String| {
            assert!(documents.contains(&words), "docs/ctl.md does not tell of `{words}`");
        };
        spelled(format!("`{name}"));
        below.into_iter().for_each(|below| spelled(format!("`{name} {below}")));
    }
    for (status, words) in
        [(0, "done"), (1, "refused"), (2, "usage"), (3, "reached"), (4, "timed out"), (5, "conflict")]
    {
        assert!(
            documents.lines().any(|line| line.starts_with(&format!("| {status} |")) && line.contains(words)),
            "{status}"
        );
    }
}
