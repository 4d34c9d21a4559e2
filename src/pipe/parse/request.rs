//! The result of reading a line: a call with the shape of its reply, or a refusal.

use memchr::memchr;

use crate::domain::Error;
use crate::registry::Call;

/// A line that was understood.
#[derive(Clone, Debug)]
pub(in crate::pipe) struct Request<'a> {
    /// Echoed in the reply.
    pub(in crate::pipe) transaction: Option<&'a str>,
    /// The reply's first word when all goes well.
    pub(in crate::pipe) word: &'static str,
    /// The call.
    pub(in crate::pipe) call: Call,
    /// The form of the reply.
    pub(in crate::pipe) form: Form<'a>,
}

/// The form of a reply beside its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipe) enum Form<'a> {
    /// The line as it is.
    Plain,
    /// The payload is to be compressed.
    Compressed,
    /// The outcome follows later, and names this target as the client wrote it.
    Outcome(&'a str),
}

/// A line that was not understood, or holds a bad value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipe) enum LineRefusal<'a> {
    /// A person asks for help. Contains the usage of each command.
    Help(Vec<String>),
    /// The number of fields is wrong. Contains the usage of the command.
    Usage(String),
    /// Something else is wrong.
    Wrong {
        /// Echoed in the reply.
        transaction: Option<&'a str>,
        /// The refusal.
        error: Error,
    },
}

/// The result of reading a line.
pub(in crate::pipe) type Parsed<'a> = Result<Request<'a>, LineRefusal<'a>>;

pub(super) fn wrong<'a>(error: Error) -> LineRefusal<'a> {
    LineRefusal::Wrong { transaction: None, error }
}

/// Returns the text before the first `|`, and the text after it, if there is one.
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    let cut = memchr(b'|', text.as_bytes()).and_then(|at| Some((text.get(..at)?, text.get(at + 1..))));
    cut.unwrap_or((text, None))
}
