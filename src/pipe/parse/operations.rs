//! Lines about a running session: drain, maintenance, statistics, backend tests.

use crate::domain::{BackendUrl, Error, Kind, PageUrl, Span, Target, listed};
use crate::registry::commands::{DrainCancel, DrainStart, MaintEnter, MaintExit, TargetSelector};
use crate::registry::queries::{BackendTest, StatsGet};
use crate::registry::{Call, Query};

use super::fields::{CommandRow, Fields, Split};
use super::request::{Form, LineRefusal, Parsed, Request};

/// The commands of this group, in the order of the protocol.
pub(super) const TABLE: &[CommandRow] = &[
    ("DRAIN_START", drain_start),
    ("DRAIN_STATUS", drain_status),
    ("DRAIN_CANCEL", drain_cancel),
    ("MAINT_ENTER", maint_enter),
    ("MAINT_EXIT", maint_exit),
    ("MAINT_STATUS", maint_status),
    ("STATS_GET", stats_get),
    ("BACKEND_TEST", backend_test),
];

fn drain_start<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("DRAIN_OK", ["duration"], |session, [span]| {
        Ok(DrainStart { subject: session.into(), span: Span::parse(span)? })
    })
}

fn drain_status<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.query("DRAIN_STATUS_OK", [], |session, []| Ok(Query::DrainStatus(session)))
}

fn drain_cancel<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.command("DRAIN_OK", [], |session, []| Ok(DrainCancel { subject: session.into() }))
}

/// Reads `MAINT_ENTER`. The page may be left out together with the `|` before it; with a transaction id, it must be an
/// empty field.
fn maint_enter<'a>(mut fields: Fields<'a, '_>) -> Parsed<'a> {
    let all = fields.split_all();
    let mut refused = None;
    for reading in all.iter().flat_map(Split::readings) {
        let (session, transaction, target, page) = match reading {
            [session, target] => (*session, None, *target, ""),
            [session, target, page] => (*session, None, *target, *page),
            [session, transaction, target, page] => (*session, Some(*transaction), *target, *page),
            _ => continue,
        };
        match enter(&mut fields, session, transaction, target, page) {
            Ok(command) => return Ok(accepted(transaction, target, Call::Command(command.into()))),
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    Err(refused.unwrap_or_else(|| fields.usage("session_id|target|[page_url]")))
}

fn enter<'a>(
    fields: &mut Fields<'a, '_>,
    session: &'a str,
    transaction: Option<&'a str>,
    target: &'a str,
    page: &'a str,
) -> Result<MaintEnter, LineRefusal<'a>> {
    let most = fields.target_max();
    let line = fields.line(session, transaction, [("target", target)], ())?;
    let page = (!page.is_empty()).then(|| PageUrl::parse(page)).transpose();
    places(target, most)
        .and_then(|places| Ok(MaintEnter { subject: line.session.into(), places, page: page? }))
        .map_err(|error| LineRefusal::Wrong { transaction, error })
}

fn maint_exit<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    let most = fields.target_max();
    let (transaction, (target, command)) = fields.read(["target"], |session, [target]| {
        Ok((target, MaintExit { subject: session.into(), places: places(target, most)? }))
    })?;
    Ok(accepted(transaction, target, Call::Command(command.into())))
}

/// Returns the maximum length in bytes of a target whose outcome fits a line of `reply_max` bytes.
pub(super) const fn target_max(reply_max: usize) -> usize {
    reply_max.saturating_sub("MAINT_OK|\n".len())
}

fn places(target: &str, most: usize) -> Result<Vec<TargetSelector>, Error> {
    if target.len() > most {
        let message =
            format!("target: {} bytes are too many; at most {most}, for MAINT_OK names it again", target.len());
        return Err(Error::new(Kind::Limited, message));
    }
    TargetSelector::parse_each(listed(target))
}

fn accepted<'a>(transaction: Option<&'a str>, target: &'a str, call: Call) -> Request<'a> {
    Request { transaction, word: "ACK", call, form: Form::Outcome(target) }
}

fn maint_status<'a>(fields: Fields<'a, '_>) -> Parsed<'a> {
    fields.query("MAINT_STATUS_OK", [], |session, []| Ok(Query::MaintStatus(session)))
}

/// Reads `STATS_GET`. The field after the session id is a transaction id unless it is `compressed`, `ALL` or a route
/// id.
fn stats_get<'a>(mut fields: Fields<'a, '_>) -> Parsed<'a> {
    let all = fields.split_all();
    let usage = |fields: &Fields<'a, '_>| fields.usage("session_id[|target][|compressed]");
    let Some([session, after @ ..]) = all.as_ref().map(Split::trimmed) else { return Err(usage(&fields)) };
    let (transaction, rest) = match after {
        [first, rest @ ..] if *first != "compressed" && first.parse::<Target>().is_err() => (Some(*first), rest),
        rest => (None, rest),
    };
    let (target, form) = match rest {
        [] => ("ALL", Form::Plain),
        ["compressed"] => ("ALL", Form::Compressed),
        [target] => (*target, Form::Plain),
        [target, "compressed"] => (*target, Form::Compressed),
        _ => return Err(usage(&fields)),
    };
    let line = fields.line(session, transaction, [("target", target)], ())?;
    let target = target.parse().map_err(|error| LineRefusal::Wrong { transaction, error })?;
    let call = Call::Query(Query::StatsGet(StatsGet { session: line.session, target }));
    Ok(Request { transaction, word: "STATS_OK", call, form })
}

/// Reads `BACKEND_TEST`. The reply begins with `BACKEND_OK` or `BACKEND_FAIL`; an invalid URL counts as a backend that
/// does not answer.
fn backend_test<'a>(mut fields: Fields<'a, '_>) -> Parsed<'a> {
    let all = fields.split_all();
    let (session, transaction, backend) = match all.as_ref().map_or(&[][..], Split::as_slice) {
        [session, backend] => (*session, None, *backend),
        // An empty field after the URL is ignored, unless the field before it is no URL.
        [session, backend, ""] if BackendUrl::parse(backend).is_ok() => (*session, None, *backend),
        [session, transaction, backend] | [session, transaction, backend, ""] => {
            (*session, Some(*transaction), *backend)
        }
        _ => return Err(fields.usage("session_id|backend_url")),
    };
    let line = fields.line(session, transaction, [], ())?;
    let empty = || Error::invalid("backend_url", "is empty; write http://host:port");
    let backend = if backend.is_empty() { Err(empty()) } else { BackendUrl::parse(backend) };
    let call = Call::BackendTest(BackendTest { session: line.session, backend });
    Ok(Request { transaction, word: "BACKEND_OK", call, form: Form::Plain })
}
