//! Lines about the revisions of an instance, and about applies that wait for their confirmation.

use crate::domain::{ConfirmationId, Error};
use crate::registry::apply_options::ApplyOptions;
use crate::registry::commands::{ConfigCancel, ConfigConfirm};
use crate::registry::{Call, Command, RevertRequest, RevisionsRequest};

use super::fields::{CommandRow, Fields, Split};
use super::request::{Form, LineRefusal, Parsed, Request, split, wrong};

/// The commands of this group, in the order of the protocol.
pub(super) const TABLE: &[CommandRow] = &[
    ("CONFIG_HISTORY", history),
    ("CONFIG_REVERT", revert),
    ("CONFIG_APPLY_WITH", apply_with),
    ("CONFIG_CONFIRM", confirm),
    ("CONFIG_CANCEL", cancel),
];

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

const APPLY_WITH: &str = r#"session_id|{"confirm_within":"5m","guard":true,"reason":"new menu","scopes":["routes"]}"#;

/// Reads `CONFIG_APPLY_WITH`. The JSON extends to the end of the line; a field before it that does not begin with `{` is a
/// transaction id.
fn apply_with<'a>(mut fields: Fields<'a, '_>) -> Parsed<'a> {
    let (session, payload) = fields.rest().map(split).unwrap_or_default();
    let Some(payload) = payload else { return Err(fields.usage(APPLY_WITH)) };
    let (transaction, json) = match split(payload) {
        (id, Some(json)) if !payload.trim_start().starts_with('{') => (Some(id), json),
        _ => (None, payload),
    };
    // No JSON ends with `|`: it comes from an empty field after the JSON.
    let json = json.strip_suffix('|').unwrap_or(json);
    let line = fields.line(session, transaction, [("options", json)], json)?;
    let refused = |error| LineRefusal::Wrong { transaction, error };
    let options: ApplyOptions = serde_json::from_str(json).map_err(|error| refused(not_options(&error)))?;
    let apply = options.command(line.session.into(), None, fields.nonce()).map_err(refused)?;
    Ok(Request { transaction, word: "APPLY_OK", call: Call::Apply(Box::new(apply)), form: Form::Plain })
}

fn not_options(error: &serde_json::Error) -> Error {
    let words = error.to_string();
    let shown: String = words.split(" at line ").next().unwrap_or_default().chars().take(200).collect();
    Error::invalid("options", format!("{shown}; write an object such as {{\"confirm_within\":\"5m\"}}"))
}

fn confirm<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    about(fields, |id| ConfigConfirm { id }.into())
}

fn cancel<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    about(fields, |id| ConfigCancel { id }.into())
}

/// Reads a line about a confirmation: its id stands where other lines have the session id.
fn about<'a>(mut fields: Fields<'a, '_>, build: impl Fn(ConfirmationId) -> Command) -> Parsed<'a> {
    let all = fields.split_all();
    let (id, transaction) = match all.as_ref().map_or(&[][..], Split::trimmed) {
        [id] => (*id, None),
        [id, transaction] => (*id, Some(*transaction)),
        _ => return Err(fields.usage("confirmation_id")),
    };
    if id.is_empty() {
        return Err(wrong(Error::invalid("confirmation_id", "is empty")));
    }
    fields.line(id, transaction, [], ())?;
    let call = Call::Command(build(ConfirmationId::restore(id)));
    Ok(Request { transaction, word: "OK", call, form: Form::Plain })
}
