//! Parses lines into requests with the table of the protocol: one row for each of the 37 commands.
//!
//! Values are read with the types of the domain, so that a bad value is refused here. The parser does not know which
//! sessions and routes exist. Invariants: no line causes a panic; a refusal repeats the transaction id if one was
//! recognised.

mod config;
mod fields;
mod operations;
mod request;
mod routes;
mod sessions;
mod settings;

use crate::domain::{ConnectionId, Error, Kind, SessionId};

use fields::{Fields, LineContext};
pub(super) use request::{Form, LineRefusal, Parsed, Request};
use request::{split, wrong};

/// A verb, and the function that reads the rest of its lines.
type CommandRow = (&'static str, for<'a, 'p> fn(Fields<'a, 'p>) -> Parsed<'a>);

/// The commands, in the order of the protocol.
const TABLE: [CommandRow; 37] = [
    ("REGISTER", sessions::register),
    ("RECONNECT", sessions::reconnect),
    ("PING", sessions::ping),
    ("SESSION_INFO", sessions::info),
    ("CLIENT_SHUTDOWN", sessions::client_shutdown),
    ("ROUTE_ADD", routes::add),
    ("ROUTE_ADD_BULK", routes::add_bulk),
    ("ROUTE_UPDATE", routes::update),
    ("ROUTE_REMOVE", routes::remove),
    ("ROUTE_LIST", routes::list),
    ("HEADERS_SET", settings::headers_set),
    ("HEADERS_REMOVE", settings::headers_remove),
    ("OPTIONS_SET", settings::options_set),
    ("OPTIONS_REMOVE", settings::options_remove),
    ("HEALTH_SET", settings::health_set),
    ("HEALTH_REMOVE", settings::health_remove),
    ("RATELIMIT_SET", settings::ratelimit_set),
    ("RATELIMIT_REMOVE", settings::ratelimit_remove),
    ("CIRCUIT_BREAKER_SET", settings::circuit_breaker_set),
    ("CIRCUIT_BREAKER_REMOVE", settings::circuit_breaker_remove),
    ("CIRCUIT_BREAKER_STATUS", operations::circuit_breaker_status),
    ("CIRCUIT_BREAKER_RESET", operations::circuit_breaker_reset),
    ("CONFIG_VALIDATE", config::validate),
    ("CONFIG_APPLY", config::apply),
    ("CONFIG_ROLLBACK", config::rollback),
    ("CONFIG_DIFF", config::diff),
    ("CONFIG_APPLY_PARTIAL", config::apply_partial),
    ("DRAIN_START", operations::drain_start),
    ("DRAIN_STATUS", operations::drain_status),
    ("DRAIN_CANCEL", operations::drain_cancel),
    ("MAINT_ENTER", operations::maint_enter),
    ("MAINT_EXIT", operations::maint_exit),
    ("MAINT_STATUS", operations::maint_status),
    ("STATS_GET", operations::stats_get),
    ("BACKEND_TEST", operations::backend_test),
    ("SUBSCRIBE", sessions::subscribe),
    ("UNSUBSCRIBE", sessions::unsubscribe),
];

/// Returns the verbs of commands, in the order of the protocol.
pub fn verbs() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(verb, _)| *verb)
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
        match TABLE.iter().find(|(verb, _)| *verb == word) {
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
        TABLE.iter().map(usage).collect()
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
