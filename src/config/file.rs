//! Reads the configuration file. For an error it names the line, the column and the correct form.
//!
//! The messages of the library are written for programmers. Those that name types or grammar are replaced with words
//! about the file.

use std::fmt;
use std::path::Path;

use anyhow::{Context, anyhow};
use serde::de::DeserializeOwned;

use super::file_sections::FileSections;

/// Reads the file at `path`. Returns its text as well.
///
/// # Errors
/// If the file cannot be read or contains an error: the file, line, column, and the correct form.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> anyhow::Result<(T, String)> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read the configuration {}", path.display()))?;
    let located = |fault: FileFault| anyhow!("{}:{fault}", path.display());
    let text = utf8(&bytes).map_err(located)?;
    // An error without a span concerns the whole file.
    let sections = toml::from_str(text).map_err(|error| located(FileFault::of(text, &error, 0)))?;
    Ok((sections, text.to_owned()))
}

/// A fault in the text of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The fault, and what to write instead.
    pub words: String,
}

impl FileFault {
    /// Returns the fault that the library found in a text. `start` is the byte at which it is if the library does not say.
    pub fn of(text: &str, error: &toml::de::Error, start: usize) -> Self {
        let at = error.span().map_or(start, |span| span.start);
        let (line, column) = place(text, at);
        Self { line, column, words: explain(text, at, error) }
    }
}

/// Writes the place and the words, as they stand behind the name of the file and a colon.
impl fmt::Display for FileFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.line, self.column, self.words)
    }
}

/// Returns the text of a file.
///
/// # Errors
/// The first byte that is not UTF-8.
pub fn utf8(bytes: &[u8]) -> Result<&str, FileFault> {
    std::str::from_utf8(bytes).map_err(|error| {
        let whole = String::from_utf8_lossy(bytes.get(..error.valid_up_to()).unwrap_or_default()).into_owned();
        let (line, column) = place(&whole, whole.len());
        FileFault { line, column, words: "a byte that is not UTF-8; save the file as UTF-8".to_owned() }
    })
}

/// Reads the text of a file without words for its errors.
pub(super) fn parse(text: &str) -> Option<FileSections> {
    toml::from_str(text).ok()
}

/// Returns the line and column of a byte, both counted from 1. A column counts characters.
pub fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

fn explain(text: &str, at: usize, error: &toml::de::Error) -> String {
    let line = text.get(..at).map_or(0, |before| before.matches('\n').count());
    let line = text.lines().nth(line).unwrap_or_default();
    let (key, value) = match line.split_once('=') {
        Some((key, value)) => (key.trim(), value.split('#').next().unwrap_or_default().trim()),
        None => (line.trim().trim_matches(['[', ']']), ""),
    };
    let is_grammar = text.parse::<toml::Table>().is_err();
    let message = error.message();
    let hint = if is_grammar { of_grammar(key, value) } else { of_meaning(key, value, message) };
    hint.unwrap_or_else(|| message.trim_end().to_owned())
}

/// Returns a message for a value that is not valid TOML.
fn of_grammar(key: &str, value: &str) -> Option<String> {
    if key.is_empty() || value.is_empty() || value.contains(['"', '\'']) {
        return None;
    }
    let small = value.to_ascii_lowercase();
    if small == "true" || small == "false" {
        return Some(format!("write {small} in small letters: {key} = {small}"));
    }
    if value.trim_start_matches(['+', '-']).bytes().all(|byte| byte.is_ascii_digit() || byte == b'_') {
        return Some(format!("{value} is too large a number; the largest is {}", i64::MAX));
    }
    if let Some(values) = value.strip_prefix('[').and_then(|values| values.strip_suffix(']')) {
        let quoted: Vec<String> = values.split(',').map(|value| format!("\"{}\"", value.trim())).collect();
        return Some(format!("write each value in quotes: {key} = [{}]", quoted.join(", ")));
    }
    let is_plain = !value.starts_with(['[', '{']);
    is_plain.then(|| format!("write the value in quotes: {key} = \"{value}\""))
}

/// Returns the known key that is spelled most like `text`, if one is.
fn nearest<'a>(text: &str, known: &[&'a str]) -> Option<&'a str> {
    let near = known.iter().map(|key| (strsim::osa_distance(text, key), *key));
    near.filter(|(distance, key)| *distance <= (key.len() / 3).max(1)).min().map(|(_, key)| key)
}

/// Returns a message for valid TOML that is not a valid configuration.
fn of_meaning(key: &str, value: &str, message: &str) -> Option<String> {
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    if let (true, [unknown, known @ ..]) = (message.starts_with("unknown field"), &words[..]) {
        let meant = nearest(unknown, known).map(|meant| format!(" did you mean `{meant}`?"));
        return Some(format!(
            "there is no `{unknown}` here;{} There are {}",
            meant.unwrap_or_default(),
            known.join(", ")
        ));
    }
    if let (true, [missing]) = (message.starts_with("missing field"), &words[..]) {
        return Some(format!("`{missing}` is missing here; add a line {missing} = …"));
    }
    let expected = message.strip_prefix("invalid type: ")?.split_once(", expected ")?.1.trim_end();
    Some(match expected {
        "a sequence" if value.starts_with('"') => format!("write a list: {key} = [{value}]"),
        _ if expected.starts_with("a list such as") => format!("write a list: {key} = [\"{value}\"]"),
        _ if expected.starts_with("struct TokenSection")
            || expected.starts_with("struct TlsSection")
            || expected == "a sequence" =>
        {
            format!("write [[{key}]], with two brackets")
        }
        _ if expected.starts_with("struct ") => {
            format!("`{key}` is a section; write [{key}] on a line of its own, and its values below")
        }
        "a map" => format!("write values with names: {key} = {{ name = \"value\" }}"),
        _ => format!("write text in quotes: {key} = \"{value}\""),
    })
}
