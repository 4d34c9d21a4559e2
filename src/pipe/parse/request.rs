//! The result of reading a line: a call with the form of its reply, or a refusal.

use memchr::memchr;

use crate::domain::Error;
use crate::registry::Call;

/// A line that was understood.
#[derive(Clone, Debug)]
pub(in crate::pipe) struct Request<'a> {
    /// The transaction id, which the reply repeats.
    pub(in crate::pipe) transaction: Option<&'a str>,
    /// The first word of a successful reply.
    pub(in crate::pipe) word: &'static str,
    /// The call.
    pub(in crate::pipe) call: Call,
    /// The form of the reply.
    pub(in crate::pipe) form: Form<'a>,
}

/// The form of a reply after its first word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pipe) enum Form<'a> {
    /// A line of plain text.
    Plain,
    /// A line with a compressed payload.
    Compressed,
    /// A plain line; the outcome follows later and repeats this target as the client wrote it.
    Outcome(&'a str),
}

/// The refusal of a line that is not understood or contains a bad value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pipe) enum LineRefusal<'a> {
    /// The answer to a request for help: the usage of each command.
    Help(Vec<String>),
    /// The usage of a command whose number of fields is wrong.
    Usage(String),
    /// Any other refusal.
    Wrong {
        /// The transaction id, which the reply repeats.
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
