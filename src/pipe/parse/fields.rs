//! The fields of a line after its first word. Their number tells if one of them is a transaction id.
//!
//! It reads no values. Invariant: the answer to a wrong number of fields is the usage and nothing else.

use crate::domain::{ConnectionId, Error, SessionId};
use crate::registry::{Call, Command, Query};

use super::request::{Form, LineRefusal, Parsed, Request, split, wrong};

/// The maximum number of fields after the first word of a line of fixed shape: one more than the longest line needs.
const FIELDS_MAX: usize = 8;
/// The maximum length of a transaction id in bytes. It has a limit because replies repeat it.
const TRANSACTION_BYTES_MAX: usize = 256;
/// The fields that may be empty, by verb and name. An empty field of another name is refused.
const MAY_BE_EMPTY: [(&str, &str); 2] = [("ROUTE_ADD", "priority"), ("HEADERS_SET", "value")];

/// A verb, and the function that reads the rest of its lines.
pub(super) type CommandRow = (&'static str, for<'a, 'p> fn(Fields<'a, 'p>) -> Parsed<'a>);

/// The state that the lines of one connection are read with.
#[derive(Debug)]
pub(super) struct LineContext {
    pub(super) connection: ConnectionId,
    pub(super) nonce: fn() -> u128,
    /// The maximum number of routes of one bulk line, so that its reply fits a line.
    pub(super) bulk_max: usize,
    /// The maximum length of a maintenance target in bytes, so that its outcome, which repeats the target, fits a line.
    pub(super) target_max: usize,
    /// The session of the last line. Most lines of a connection name the same session.
    pub(super) last: SessionId,
}

impl LineContext {
    /// Returns the session id, without a new allocation if the line before had the same id.
    fn session(&mut self, text: &str) -> SessionId {
        if self.last.reveal() != text {
            self.last = SessionId::restore(text);
        }
        self.last.clone()
    }
}

/// The rest of a line after its first word.
#[derive(Debug)]
pub(super) struct Fields<'a, 'p> {
    verb: &'static str,
    rest: Option<&'a str>,
    context: &'p mut LineContext,
}

/// The session and the other fields of a line.
#[derive(Clone, Debug)]
pub(super) struct SessionLine<T> {
    pub(super) session: SessionId,
    /// The fields after the session id and the transaction id.
    pub(super) fields: T,
}

impl<'a, 'p> Fields<'a, 'p> {
    pub(super) fn new(verb: &'static str, rest: Option<&'a str>, context: &'p mut LineContext) -> Self {
        Self { verb, rest, context }
    }

    /// Returns the rest of the line as it was sent.
    pub(super) fn rest(&self) -> Option<&'a str> {
        self.rest
    }

    pub(super) fn connection(&self) -> ConnectionId {
        self.context.connection
    }

    pub(super) fn nonce(&self) -> u128 {
        (self.context.nonce)()
    }

    pub(super) fn bulk_max(&self) -> usize {
        self.context.bulk_max
    }

    pub(super) fn target_max(&self) -> usize {
        self.context.target_max
    }

    /// Returns the refusal of a wrong number of fields: the usage. `names` are the fields after the first word.
    pub(super) fn usage(&self, names: &str) -> LineRefusal<'a> {
        let verb = self.verb;
        LineRefusal::Usage(format!("usage: {verb}|{names}"))
    }

    /// Reads a command with a session id and the fields `names`; `word` begins its reply.
    pub(super) fn command<const N: usize, C: Into<Command>>(
        self,
        word: &'static str,
        names: [&'static str; N],
        build: impl Fn(SessionId, [&'a str; N]) -> Result<C, Error>,
    ) -> Parsed<'a> {
        self.call(word, names, |session, fields| build(session, fields).map(|command| Call::Command(command.into())))
    }

    /// Reads a query with a session id and the fields `names`; `word` begins its reply.
    pub(super) fn query<const N: usize>(
        self,
        word: &'static str,
        names: [&'static str; N],
        build: impl Fn(SessionId, [&'a str; N]) -> Result<Query, Error>,
    ) -> Parsed<'a> {
        self.call(word, names, |session, fields| build(session, fields).map(Call::Query))
    }

    /// Reads a call with a session id and the fields `names`; `word` begins its reply.
    pub(super) fn call<const N: usize>(
        self,
        word: &'static str,
        names: [&'static str; N],
        build: impl Fn(SessionId, [&'a str; N]) -> Result<Call, Error>,
    ) -> Parsed<'a> {
        let (transaction, call) = self.read(names, build)?;
        Ok(Request { transaction, word, call, form: Form::Plain })
    }

    /// Returns the transaction id, if any, and the value that `build` makes of the session id and one field for each of `names`.
    ///
    /// An empty last field is ignored if the line cannot be read with it.
    pub(super) fn read<const N: usize, T>(
        mut self,
        names: [&'static str; N],
        build: impl Fn(SessionId, [&'a str; N]) -> Result<T, Error>,
    ) -> Result<(Option<&'a str>, T), LineRefusal<'a>> {
        // Most lines are a verb and a session; these need no list of fields.
        if N == 0
            && let Some(session) = self.rest.filter(|rest| !rest.is_empty() && !rest.as_bytes().contains(&b'|'))
        {
            let built = build(self.context.session(session), names);
            return built.map(|built| (None, built)).map_err(wrong);
        }
        let Some(all) = self.split_all() else { return Err(self.usage(&shape(&names))) };
        let mut refused = None;
        match self.with_fields(all.as_slice(), &names) {
            Some(Ok((transaction, line))) => match build(line.session, line.fields) {
                Ok(built) => return Ok((transaction, built)),
                Err(error) => refused = Some(LineRefusal::Wrong { transaction, error }),
            },
            Some(Err(refusal)) => refused = Some(refusal),
            None => {}
        }
        match without_empty_end(all.as_slice()).and_then(|fields| self.with_fields(fields, &names)) {
            Some(Ok((transaction, line))) => build(line.session, line.fields)
                .map(|built| (transaction, built))
                .map_err(|error| refused.unwrap_or(LineRefusal::Wrong { transaction, error })),
            Some(Err(refusal)) => Err(refused.unwrap_or(refusal)),
            None => Err(refused.unwrap_or_else(|| self.usage(&shape(&names)))),
        }
    }

    /// Returns the transaction id and the line with exactly these fields; `None` for another number of fields.
    #[expect(clippy::type_complexity, reason = "it has no other use")]
    fn with_fields<const N: usize>(
        &mut self,
        fields: &[&'a str],
        names: &[&'static str; N],
    ) -> Option<Result<(Option<&'a str>, SessionLine<[&'a str; N]>), LineRefusal<'a>>> {
        let (session, transaction, fields) = split_by_count(fields)?;
        let line = self.line(session, transaction, names.iter().copied().zip(fields), fields);
        Some(line.map(|line| (transaction, line)))
    }

    /// Checks that the transaction id is short enough and no field is empty.
    pub(super) fn line<T>(
        &mut self,
        session: &'a str,
        transaction: Option<&'a str>,
        named: impl IntoIterator<Item = (&'static str, &'a str)>,
        fields: T,
    ) -> Result<SessionLine<T>, LineRefusal<'a>> {
        if let Some(id) = transaction {
            check_transaction(id).map_err(wrong)?;
        }
        let verb = self.verb;
        let may_be_empty = |name| MAY_BE_EMPTY.contains(&(verb, name));
        let empty = |(name, field): (&'static str, &str)| (field.is_empty() && !may_be_empty(name)).then_some(name);
        match [("session_id", session)].into_iter().chain(named).find_map(empty) {
            Some(name) => Err(LineRefusal::Wrong { transaction, error: Error::invalid(name, "is empty") }),
            None => Ok(SessionLine { session: self.context.session(session), fields }),
        }
    }

    /// Returns all fields; `None` if there are more than `FIELDS_MAX`.
    pub(super) fn split_all(&self) -> Option<Split<'a>> {
        let mut all = Split { fields: [""; FIELDS_MAX], len: 0 };
        let mut next = self.rest;
        while let Some(text) = next {
            let (field, rest) = split(text);
            *all.fields.get_mut(all.len)? = field;
            all.len += 1;
            next = rest;
        }
        Some(all)
    }
}

/// The fields of a line, without an allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Split<'a> {
    fields: [&'a str; FIELDS_MAX],
    len: usize,
}

impl<'a> Split<'a> {
    pub(super) fn as_slice(&self) -> &[&'a str] {
        self.fields.get(..self.len).unwrap_or_default()
    }

    /// Returns the fields, without the last one if it is empty.
    pub(super) fn trimmed(&self) -> &[&'a str] {
        let all = self.as_slice();
        without_empty_end(all).unwrap_or(all)
    }

    /// Returns the fields and, if the last one is empty, the fields before it.
    pub(super) fn readings(&self) -> impl Iterator<Item = &[&'a str]> {
        let all = self.as_slice();
        [Some(all), without_empty_end(all)].into_iter().flatten()
    }
}

/// Returns the fields before the last one, if the last one is empty.
fn without_empty_end<'f, 'a>(fields: &'f [&'a str]) -> Option<&'f [&'a str]> {
    fields.split_last().filter(|(last, before)| last.is_empty() && !before.is_empty()).map(|(_, before)| before)
}

/// Splits fields into a session id, an optional transaction id and `N` further fields, by their number.
fn split_by_count<'a, const N: usize>(fields: &[&'a str]) -> Option<(&'a str, Option<&'a str>, [&'a str; N])> {
    match fields {
        [session, fields @ ..] if fields.len() == N => Some((*session, None, fields.try_into().ok()?)),
        [session, transaction, fields @ ..] if fields.len() == N => {
            Some((*session, Some(*transaction), fields.try_into().ok()?))
        }
        _ => None,
    }
}

fn shape(names: &[&'static str]) -> String {
    let with_session: Vec<&str> = ["session_id"].into_iter().chain(names.iter().copied()).collect();
    with_session.join("|")
}

fn check_transaction(id: &str) -> Result<(), Error> {
    match id.len() {
        0 => Err(Error::invalid("transaction_id", "is empty")),
        1..=TRANSACTION_BYTES_MAX => Ok(()),
        _ => Err(Error::invalid("transaction_id", format!("at most {TRANSACTION_BYTES_MAX} bytes"))),
    }
}
