//! Parses lines into requests with the tables of the protocol: one row for each command, beside the function that reads
//! it.
//!
//! Values are read with the types of the domain, so that a bad value is refused here. The parser does not know which
//! sessions and routes exist. Invariants: no line causes a panic; a refusal repeats the transaction id if one was
//! recognised.

mod breakers;
mod config;
mod events;
mod fields;
mod history;
mod operations;
mod request;
mod routes;
mod sessions;
mod settings;

use crate::domain::{ConnectionId, Error, Kind, SessionId};

use fields::{CommandRow, Fields, LineContext};
pub(super) use request::{Form, LineRefusal, Parsed, Request};
use request::{split, wrong};

/// The commands by group, in the order of the protocol.
const GROUPS: [&[CommandRow]; 8] = [
    sessions::TABLE,
    routes::TABLE,
    settings::TABLE,
    breakers::TABLE,
    config::TABLE,
    history::TABLE,
    operations::TABLE,
    events::TABLE,
];

fn rows() -> impl Iterator<Item = &'static CommandRow> {
    GROUPS.into_iter().flatten()
}

/// Returns the verbs of commands, in the order of the protocol.
pub fn verbs() -> impl Iterator<Item = &'static str> {
    rows().map(|(verb, _)| *verb)
}

/// Returns the verb that a line begins with, if it is one of the protocol.
pub(super) fn verb_of(line: &[u8]) -> Option<&'static str> {
    let word = line.split(|byte| *byte == b'|').next()?;
    verbs().find(|verb| verb.as_bytes() == word)
}

/// The parser of one connection's lines.
#[derive(Debug)]
pub(super) struct Parser(LineContext);

impl Parser {
    /// Creates the parser of `connection`, whose replies have at most `reply_max` bytes. `nonce` returns 128 random
    /// bits.
    pub(super) fn new(connection: ConnectionId, nonce: fn() -> u128, reply_max: usize) -> Self {
        let (bulk_max, target_max) = (routes::bulk_max(reply_max), operations::target_max(reply_max));
        Self(LineContext { connection, nonce, bulk_max, target_max, last: SessionId::restore("") })
    }

    /// Reads a line. Returns `None` for a line that is ignored.
    pub(super) fn read<'a>(&mut self, line: &'a [u8]) -> Option<Parsed<'a>> {
        if line.is_empty() || line == b"ACK" {
            return None;
        }
        Some(text(line).map_err(wrong).and_then(|line| self.request(line)))
    }

    fn request<'a>(&mut self, line: &'a str) -> Parsed<'a> {
        let (word, rest) = split(line);
        match rows().find(|(verb, _)| *verb == word) {
            Some((verb, read)) => read(Fields::new(verb, rest, &mut self.0)),
            None if rest.is_none() && asks_for_help(word) => Err(LineRefusal::Help(self.help())),
            None => Err(wrong(unknown(word))),
        }
    }

    /// Returns the usage of each command, in the order of the protocol.
    fn help(&mut self) -> Vec<String> {
        let usage = |(verb, read): &CommandRow| match read(Fields::new(verb, None, &mut self.0)) {
            Err(LineRefusal::Usage(usage)) => usage.trim_start_matches("usage: ").to_owned(),
            // Every command has fields.
            _ => (*verb).to_owned(),
        };
        rows().map(usage).collect()
    }
}

/// Returns true if a line asks for help.
fn asks_for_help(word: &str) -> bool {
    let word = word.trim();
    word == "?" || word.eq_ignore_ascii_case("help")
}

fn unknown(word: &str) -> Error {
    let shown: String = word.chars().take(40).collect();
    Error::new(Kind::Invalid, format!("unknown command: {shown}"))
}

/// Returns the line as text, or the refusal of a line with control characters or invalid UTF-8.
fn text(line: &[u8]) -> Result<&str, Error> {
    let text = std::str::from_utf8(line)
        .map_err(|error| refused(format!("the line is not valid UTF-8 (byte {})", error.valid_up_to() + 1)))?;
    // Counting is faster than a search, because it can process many bytes at once.
    let controls = line.iter().filter(|byte| byte.is_ascii_control()).count();
    if (controls > 0 || !text.is_ascii())
        && let Some((at, _)) = text.char_indices().find(|(_, c)| c.is_control())
    {
        return Err(refused(format!("the line holds a control character (byte {})", at + 1)));
    }
    Ok(text)
}

fn refused(message: String) -> Error {
    Error::new(Kind::Invalid, message)
}

#[cfg(test)]
mod tests;
