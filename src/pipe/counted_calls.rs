//! Counts the lines of a connection that the writer of the registry does not decide: queries, and commands that are refused before it.
//!
//! Invariant: a line is counted once, here or by the writer. Answered queries are counted together, at the end of a batch of lines.

use crate::domain::{Error, Kind};
use crate::registry::{CallOrigin, OTHER_CALL, call_name};

use super::connection::Connection;
use super::parse::{LineRefusal, verb_of};

impl<S> Connection<S> {
    /// Counts a query.
    pub(super) fn count(&mut self, name: &'static str, refusal: Option<&Error>) {
        match refusal {
            None => self.tally.add(name),
            Some(error) => self.registry.count_call(name, &self.call_origin, Err(error.kind())),
        }
    }

    /// Counts a command if it was refused before the writer.
    pub(super) fn count_undecided(&self, name: &'static str, origin: &CallOrigin, refusal: Option<&Error>) {
        if let Some(error) = refusal {
            self.registry.count_call(name, origin, Err(error.kind()));
        }
    }

    /// Counts a line that was not understood.
    pub(super) fn count_refusal(&self, line: &[u8], refusal: &LineRefusal<'_>) {
        let kind = match refusal {
            LineRefusal::Help(_) => return,
            LineRefusal::Usage(_) => Kind::Invalid,
            LineRefusal::Wrong { error, .. } => error.kind(),
        };
        let name = verb_of(line).and_then(call_name).unwrap_or(OTHER_CALL);
        self.registry.count_call(name, &self.call_origin, Err(kind));
    }
}
