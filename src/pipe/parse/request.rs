//! What comes of a line: a call with the shape of its reply, or the reason why there is none.

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
    /// What is asked.
    pub(in crate::pipe) call: Call,
    /// What else shapes the reply.
    pub(in crate::pipe) form: Form<'a>,
}

/// What shapes a reply beside its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipe) enum Form<'a> {
    /// Nothing.
    Plain,
    /// The payload is to be compressed.
    Compressed,
    /// The outcome follows later, and names this target as the client wrote it.
    Outcome(&'a str),
}

/// A line that was not understood, or holds a bad value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipe) enum Refusal<'a> {
    /// Somebody at a keyboard asks for help: how each command looks, a line each.
    Help(Vec<String>),
    /// The number of fields is wrong; this is how the line looks.
    Usage(String),
    /// Something else is wrong.
    Wrong {
        /// Echoed in the reply.
        transaction: Option<&'a str>,
        /// What.
        error: Error,
    },
}

/// What came of a line.
pub(in crate::pipe) type Parsed<'a> = Result<Request<'a>, Refusal<'a>>;

pub(super) fn wrong<'a>(error: Error) -> Refusal<'a> {
    Refusal::Wrong { transaction: None, error }
}

/// The text before the first `|`, and after it if there is one.
pub(super) fn split(text: &str) -> (&str, Option<&str>) {
    let cut = memchr(b'|', text.as_bytes()).and_then(|at| Some((text.get(..at)?, text.get(at + 1..))));
    cut.unwrap_or((text, None))
}
