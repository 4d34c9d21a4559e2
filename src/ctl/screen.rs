//! Standard output: tables and lines for people, JSON for programs.

use std::io::{self, IsTerminal as _, Write as _};

use serde_json::Value;

use super::failure::CtlFailure;
use super::table::{Cell, Heads, TableForm, details, table};

/// The columns of a terminal that does not tell its size.
const WIDTH_USUAL: usize = 80;
/// The columns below which no table fits.
const WIDTH_MIN: usize = 30;

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    /// True if JSON is asked for.
    pub(super) json: bool,
    /// True if it is a terminal.
    pub(super) is_terminal: bool,
    no_color: bool,
}

impl Screen {
    pub(super) fn new(json: bool, no_color: bool) -> Self {
        Self { json, no_color, is_terminal: io::stdout().is_terminal() }
    }

    /// Returns the form of tables now; the size of a terminal changes.
    pub(super) fn form(self) -> TableForm {
        let width = self.is_terminal.then(|| size().0);
        TableForm { width, color: self.is_terminal && !self.no_color }
    }

    /// Prints text as it is.
    ///
    /// # Errors
    /// `Closed` if nobody reads it.
    pub(super) fn print(self, text: &str) -> Result<(), CtlFailure> {
        let mut out = io::stdout().lock();
        let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        written.map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => CtlFailure::closed(),
            _ => CtlFailure::refused(format!("cannot write the output: {error}")),
        })
    }

    /// Prints a JSON document, or a line of a stream.
    pub(super) fn document(self, value: &Value) -> Result<(), CtlFailure> {
        self.print(&format!("{}\n", json_text(value)))
    }

    /// Prints a table with its heads.
    pub(super) fn table(self, heads: &Heads, rows: &[Vec<Cell>]) -> Result<(), CtlFailure> {
        self.print(&table(heads, rows, self.form(), true))
    }

    /// Prints names with their values.
    pub(super) fn details(self, entries: &[(&str, String)]) -> Result<(), CtlFailure> {
        self.print(&details(entries, self.form()))
    }
}

/// Returns the columns and rows of the terminal.
pub(super) fn size() -> (usize, usize) {
    let told = rustix::termios::tcgetwinsize(io::stdout()).ok();
    let (width, height) = told.map_or((0, 0), |size| (size.ws_col.into(), size.ws_row.into()));
    let width = if width == 0 { WIDTH_USUAL } else { width };
    (width.max(WIDTH_MIN), if height == 0 { 24 } else { height })
}

/// Returns a JSON text in which characters that act on a terminal are escapes too.
pub(super) fn json_text(value: &Value) -> String {
    let text = value.to_string();
    if !text.chars().any(super::text::is_hidden) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len());
    let mut units = [0; 2];
    for c in text.chars() {
        if super::text::is_hidden(c) {
            // They stand only inside of strings, where JSON writes them in units of UTF-16.
            c.encode_utf16(&mut units).iter().for_each(|unit| escaped += &format!("\\u{unit:04x}"));
        } else {
            escaped.push(c);
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_has_no_raw_control_character_and_says_the_same() {
        let value = serde_json::json!({ "a\u{1b}": "\u{9b}2J\u{7f}\u{202e}\u{e0001}é" });
        let text = json_text(&value);
        assert!(!text.chars().any(super::super::text::is_hidden), "{text}");
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }
}
