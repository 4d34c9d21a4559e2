//! The test that `docs/protocol.md` names every command.

use std::collections::BTreeMap;

use super::{GOOD, parsed, parser};

/// Returns the rows of the table of commands in `docs/protocol.md`: the verb, and the first word of the reply.
fn documented(page: &str) -> BTreeMap<String, String> {
    let rows = page.lines().filter(|line| is_command(line));
    let first = |cell: &str| cell.split(['`', '│']).nth(1).unwrap_or_default().to_owned();
    rows.map(|row| {
        let mut cells = row.split(" | ").skip(1);
        (first(cells.next().unwrap_or_default()), first(cells.next().unwrap_or_default()))
    })
    .collect()
}

/// Returns true for a row such as "| 3 | `PING│sid` | `PONG` |".
fn is_command(line: &str) -> bool {
    line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[test]
fn the_page_of_the_protocol_has_every_command_with_its_reply() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md");
    let before = std::fs::read_to_string(&path).unwrap();
    let mut page = before.clone();
    if std::env::var_os("SIGNALBOX_REGENERATE").is_some() {
        let known = documented(&page);
        for (usage, line) in parser().help().iter().zip(GOOD.iter()) {
            let (verb, word) = (usage.split('|').next().unwrap(), parsed(line).unwrap().word);
            if known.contains_key(verb) {
                continue;
            }
            let rows: Vec<&str> = page.lines().filter(|line| is_command(line)).collect();
            let usage = usage.replace("session_id", "sid").replace('|', "│");
            let row = format!("| {} | `{usage}` | `{word}` |", rows.len() + 1);
            page = page.replace(rows[rows.len() - 1], &format!("{}\n{row}", rows[rows.len() - 1]));
        }
        if page != before {
            std::fs::write(&path, &page).unwrap();
        }
    }
    let read = |line: &String| (line.split('|').next().unwrap().to_owned(), parsed(line).unwrap().word.to_owned());
    let missing = "docs/protocol.md lacks a command; run `SIGNALBOX_REGENERATE=1 cargo test --lib pipe::parse`";
    assert_eq!(documented(&page), GOOD.iter().map(read).collect(), "{missing}");
}
