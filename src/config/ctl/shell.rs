//! Completions for shells, and manual pages, of the whole command line.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use clap_mangen::Man;

use super::offline_verbs::CtlShell;
use crate::config::command::Cli;
use crate::config::ctl::CtlCli;

/// Returns the script that completes the words of `signalbox` in a shell.
pub fn completions(shell: CtlShell) -> Vec<u8> {
    let shell = match shell {
        CtlShell::Bash => Shell::Bash,
        CtlShell::Zsh => Shell::Zsh,
        CtlShell::Fish => Shell::Fish,
    };
    let ctl = CtlCli::command().name("ctl").bin_name("signalbox ctl");
    let mut whole = Cli::command().mut_subcommand("ctl", |_| ctl);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut whole, "signalbox", &mut script);
    script
}

/// Returns the manual page of `signalbox ctl`.
///
/// # Errors
/// Never; the page is made in memory.
pub fn man() -> io::Result<Vec<u8>> {
    page(CtlCli::command())
}

/// Writes a manual page for `signalbox ctl` and one for each of its commands into `folder`. Returns their files.
///
/// # Errors
/// If a file cannot be written.
pub fn man_pages(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut commands = Vec::new();
    collect(CtlCli::command(), "signalbox-ctl", &mut commands);
    let mut files = Vec::new();
    for (name, command) in commands {
        let file = folder.join(format!("{name}.1"));
        std::fs::write(&file, page(command)?)?;
        files.push(file);
    }
    Ok(files)
}

/// Adds a command and those below it, with the names of their pages.
fn collect(command: Command, name: &str, into: &mut Vec<(String, Command)>) {
    for below in command.get_subcommands() {
        let (page, words) = (format!("{name}-{}", below.get_name()), format!("{} {}", words(name), below.get_name()));
        collect(below.clone().bin_name(words), &page, into);
    }
    into.push((name.to_owned(), command));
}

/// Returns the words of a command from the name of its page.
fn words(page: &str) -> String {
    page.replace('-', " ")
}

fn page(command: Command) -> io::Result<Vec<u8>> {
    let name = command.get_bin_name().unwrap_or("signalbox ctl").replace(' ', "-");
    let mut page = Vec::new();
    Man::new(command.display_name(&name).disable_help_subcommand(true)).title(name.to_uppercase()).render(&mut page)?;
    page.flush()?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scripts_of_all_shells_complete_the_words_of_ctl() {
        for shell in [CtlShell::Bash, CtlShell::Zsh, CtlShell::Fish] {
            let script = String::from_utf8(completions(shell)).unwrap();
            for word in ["maintenance", "drained", "pipe-listen", "expect-revision"] {
                assert!(script.contains(word), "{shell:?} does not know {word}");
            }
        }
    }

    #[test]
    fn there_is_a_page_for_each_command() {
        let folder = tempfile::tempdir().unwrap();
        let files = man_pages(folder.path()).unwrap();
        assert!(files.contains(&folder.path().join("signalbox-ctl-wait-drained.1")), "{files:?}");
        let page = std::fs::read_to_string(folder.path().join("signalbox-ctl-drain.1")).unwrap();
        assert!(page.contains(".TH") && page.contains("cancel"), "{page}");
        assert!(String::from_utf8(man().unwrap()).unwrap().contains("Exit status: 0 done"));
    }
}
