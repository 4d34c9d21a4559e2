//! Lines about the revisions of an instance.

use crate::domain::Error;
use crate::registry::{Call, RevertRequest, RevisionsRequest};

use super::fields::{CommandRow, Fields, Split};
use super::request::{Form, LineRefusal, Parsed, Request};

/// The commands of this group, in the order of the protocol.
pub(super) const TABLE: &[CommandRow] = &[("CONFIG_HISTORY", history), ("CONFIG_REVERT", revert)];

/// The number of revisions that `CONFIG_HISTORY` lists by default, so that its reply fits a line.
const LISTED: usize = 20;
const LISTED_MAX: usize = 100;

/// Reads `CONFIG_HISTORY`. The field after the session id is a transaction id unless it is a number.
fn history<'a>(mut fields: Fields<'a, '_>) -> Parsed<'a> {
    let all = fields.split_all();
    let usage = |fields: &Fields<'a, '_>| fields.usage("session_id[|limit]");
    let Some([session, after @ ..]) = all.as_ref().map(Split::trimmed) else { return Err(usage(&fields)) };
    let (transaction, rest) = match after {
        [first, rest @ ..] if !is_number(first) => (Some(*first), rest),
        rest => (None, rest),
    };
    let limit = match rest {
        [] => None,
        [limit] => Some(*limit),
        _ => return Err(usage(&fields)),
    };
    let line = fields.line(session, transaction, limit.map(|limit| ("limit", limit)), ())?;
    let limit = limit.map_or(Ok(LISTED), listed).map_err(|error| LineRefusal::Wrong { transaction, error })?;
    let call = Call::Revisions(RevisionsRequest { session: line.session, limit });
    Ok(Request { transaction, word: "HISTORY_OK", call, form: Form::Plain })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn listed(text: &str) -> Result<usize, Error> {
    let limit = text.parse().ok().filter(|limit| is_number(text) && (1..=LISTED_MAX).contains(limit));
    limit.ok_or_else(|| Error::invalid("limit", format!("must be 1 to {LISTED_MAX}")))
}

fn revert<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.call("REVERT_OK", ["number"], |session, [number]| {
        let known = number.parse().ok().filter(|_| is_number(number));
        let number = known.ok_or_else(|| Error::invalid("number", "must be the number of a revision, such as 3"))?;
        Ok(Call::Revert(RevertRequest { subject: session.into(), number, expected: None, reason: None }))
    })
}
