//! Commands that settle what is staged: apply, partial apply, rollback; and what it comes to: validate, diff.

use std::collections::HashMap;
use std::sync::Arc;

use crate::domain::{
    Breaker, Catalog, Change, Claim, Config, Edit, Error, Event, Head, HeaderKey, HealthCheck, Kind, OptionKey,
    Options, RateLimit, Route, RouteId, Section, Sections, Session, SessionId, Span, Target, acting_timeout,
};

use super::calls::{Context, Decided, Decision, Reply};
use super::grants::Grants;
use super::operations::with_head;
use super::takeover::{losses, obey_orders};
use super::views::{
    BreakerEntry, ConfigPart, ConfigView, DiffView, HeaderEntry, HealthEntry, LimitEntry, OptionEntry, RouteEntry,
    RoutesDiff,
};

/// Makes what is staged active, in whole or in some sections.
#[derive(Clone, Debug)]
pub struct ConfigApply {
    /// The session.
    pub session: SessionId,
    /// Which sections; the rest stays staged.
    pub sections: Sections,
    /// The session's revision is to be one of these, if the client says so.
    pub expected: Option<Vec<u64>>,
}

impl ConfigApply {
    pub(super) fn session(&self) -> Option<&SessionId> {
        Some(&self.session)
    }

    pub(super) fn decide(&self, catalog: &Catalog, context: Context<'_>) -> Decision {
        let session = catalog.session(self.session.reveal())?;
        self.still_expected(session)?;
        let edits = staged_edits(session, self.sections);
        context.grants.permit(session, &edits)?;
        check(catalog, session, &edits)?;
        // The first successful apply of a session ends the one it took over from, in the same step.
        let mut changes: Vec<Change> = catalog.replaced_of(&session.head).map(Change::End).into_iter().collect();
        if edits.is_empty() {
            return Ok(Decided::new(Reply::Applied(session.head.revision), changes));
        }
        let before = catalog.replaced_of(&session.head).and_then(|key| catalog.by_key(key));
        let head = applied(session, &edits, before.map(|before| &**before), context);
        let reply = Reply::Applied(head.revision);
        let event = Event::ConfigApplied { revision: head.revision };
        changes.push(Change::Apply { key: session.key, sections: self.sections, edits: edits.into() });
        changes.push(Change::Head(session.key, Arc::new(head)));
        Ok(Decided::new(reply, changes).telling(session.key, event))
    }

    fn still_expected(&self, session: &Session) -> Result<(), Error> {
        let now = session.head.revision;
        let Some(expected) = self.expected.as_ref().filter(|expected| !expected.contains(&now)) else {
            return Ok(());
        };
        let given = match expected.as_slice() {
            [seen] => format!("not {seen}"),
            _ => "which is none of those that were given".to_owned(),
        };
        let message = format!("the configuration is at revision {now}, {given}; look at it again, then apply");
        Err(Error::new(Kind::Stale, message))
    }
}

fn staged_edits(session: &Session, sections: Sections) -> Vec<Edit> {
    let difference = session.difference();
    difference.edits().filter(|edit| sections.contains(edit.section())).cloned().collect()
}

fn applied(session: &Session, edits: &[Edit], before: Option<&Session>, context: Context<'_>) -> Head {
    let mut head = Head::clone(&session.head);
    head.revision += 1;
    head.last_apply = Some(context.now);
    for edit in edits {
        if let Edit::Route(id, None) = edit {
            head.maintenance.forget(*id);
        }
    }
    before.into_iter().for_each(|before| obey_orders(&mut head, edits, before));
    head
}

/// Drops what is staged.
#[derive(Clone, Debug)]
pub struct ConfigRollback {
    /// The session.
    pub session: SessionId,
}

impl ConfigRollback {
    pub(super) fn session(&self) -> Option<&SessionId> {
        Some(&self.session)
    }

    pub(super) fn decide(&self, catalog: &Catalog, _: Context<'_>) -> Decision {
        let session = catalog.session(self.session.reveal())?;
        if session.staged.is_none() {
            return Ok(Decided::new(Reply::Done, Vec::new()));
        }
        Ok(Decided::new(Reply::Done, unstage(session)))
    }
}

/// Drops what is staged, and the maintenance of routes that were never more than that.
pub(super) fn unstage(session: &Session) -> Vec<Change> {
    // The head goes along in any case: it keeps the number of the next route, which the staged rows held.
    let head = with_head(session, |head| head.maintenance.retain(|id| session.active.routes.contains_key(&id)));
    vec![Change::Unstage(session.key), head]
}

/// Answers `CONFIG_VALIDATE`: refuses what a whole apply would be refused for, and gives what one should know before it.
pub(super) fn validate(catalog: &Catalog, session: &Session, grants: &Grants) -> Result<Vec<String>, Error> {
    let edits = staged_edits(session, Sections::ALL);
    grants.permit(session, &edits)?;
    check(catalog, session, &edits)?;
    Ok(warnings(catalog, session, edits.iter()))
}

/// Answers `CONFIG_DIFF`.
pub(super) fn diff(catalog: &Catalog, session: &Session) -> DiffView {
    let difference = session.difference();
    let ids = |edits: &[Edit]| edits.iter().filter_map(routed).collect();
    let tally = |section| difference.tally(section).into();
    DiffView {
        routes: RoutesDiff {
            added: ids(&difference.added),
            removed: ids(&difference.removed),
            modified: ids(&difference.modified),
        },
        headers: tally(Section::Headers),
        options: tally(Section::Options),
        health: tally(Section::Health),
        ratelimit: tally(Section::RateLimit),
        circuit: tally(Section::Circuit),
        warnings: warnings(catalog, session, difference.edits()),
    }
}

/// What is staged and means nothing, or something else than it says, and what goes with the next apply beside.
fn warnings<'a>(catalog: &Catalog, session: &Session, edits: impl Iterator<Item = &'a Edit>) -> Vec<String> {
    let next = session.staged.as_ref().map_or(&session.active, |staged| &staged.config);
    let all = next.options_over(&Options::default(), Target::All);
    let sets_timeout = |target| next.options_for(target).any(|(key, _)| key.as_str() == TIMEOUT_KEY);
    let all_set = sets_timeout(Target::All);
    edits
        .filter_map(|edit| match edit {
            Edit::Health(id, Some(check)) => {
                acts_shorter(check.interval, check.timeout).map(|words| format!("health: {id}: the timeout {words}"))
            }
            Edit::Option(target, key, Some(_)) if [TIMEOUT_KEY, "health_check_interval"].contains(&key.as_str()) => {
                let set = all_set || sets_timeout(*target);
                let options = next.options_over(&all, *target);
                let words = acts_shorter(options.health_check_interval, options.health_check_timeout);
                words.filter(|_| set).map(|words| format!("options: {target}: {key}: the timeout {words}"))
            }
            other => unknown_option(other).map(|key| match Options::meant_by(key) {
                Some(meant) => format!("options: unknown key {key}; did you mean {meant}?"),
                None => format!("options: unknown key {key}"),
            }),
        })
        .chain(losses(catalog, session))
        .collect()
}

const TIMEOUT_KEY: &str = "health_check_timeout";

/// How a health check's timeout acts, where it is not as it is set.
fn acts_shorter(interval: Span, timeout: Span) -> Option<String> {
    let acts = acting_timeout(interval, timeout);
    (acts < timeout).then(|| format!("{timeout} acts as {acts}: at most the interval and {}", HealthCheck::TIMEOUT_MAX))
}

/// Answers what the typed doors ask for: both configurations, whole.
pub(super) fn config(session: &Session) -> ConfigView {
    ConfigView {
        revision: session.head.revision,
        active: part(&session.active),
        staged: session.staged.as_ref().map(|staged| part(&staged.config)),
    }
}

fn part(config: &Config) -> ConfigPart {
    let route = |route: &Arc<Route>| RouteEntry {
        route_id: route.id,
        domains: route.domains.iter().map(ToString::to_string).collect(),
        path: route.path.to_string(),
        backend: route.backend.to_string(),
        priority: route.priority,
    };
    let header = |((target, name), value): (&(_, HeaderKey), &Arc<str>)| HeaderEntry {
        target: *target,
        name: name.as_str().to_owned(),
        value: value.to_string(),
    };
    let option = |((target, key), value): (&(_, OptionKey), &Arc<str>)| OptionEntry {
        target: *target,
        key: key.to_string(),
        value: value.to_string(),
    };
    let check = |(id, check): (&RouteId, &HealthCheck)| HealthEntry {
        route_id: *id,
        path: check.path.to_string(),
        interval: check.interval,
        timeout: check.timeout,
    };
    let limit = |(target, limit): (&_, &RateLimit)| LimitEntry {
        target: *target,
        requests: limit.requests,
        window: limit.window,
    };
    let breaker = |(target, breaker): (&_, &Breaker)| BreakerEntry {
        target: *target,
        threshold: breaker.threshold,
        timeout: breaker.timeout,
        half_open_requests: breaker.half_open_requests,
    };
    ConfigPart {
        routes: config.routes.values().map(route).collect(),
        headers: config.headers.iter().map(header).collect(),
        options: config.options.iter().map(option).collect(),
        health_checks: config.health.iter().map(check).collect(),
        rate_limits: config.limits.iter().map(limit).collect(),
        circuit_breakers: config.breakers.iter().map(breaker).collect(),
    }
}

fn routed(edit: &Edit) -> Option<RouteId> {
    match edit {
        Edit::Route(id, _) => Some(*id),
        _ => None,
    }
}

/// The key of an option that is set and that no version of the protocol knows.
pub(super) fn unknown_option(edit: &Edit) -> Option<&str> {
    match edit {
        Edit::Option(_, key, Some(value)) if Options::default().set(key.as_str(), value) == Ok(false) => {
            Some(key.as_str())
        }
        _ => None,
    }
}

/// The most problems that one message lists.
const PROBLEMS_MAX: usize = 20;

/// Something that only the whole configuration shows to be wrong.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    route: RouteId,
    words: String,
    with_another_service: bool,
}

/// Refuses edits after which the session's configuration would not hold together, naming every problem.
fn check(catalog: &Catalog, session: &Session, edits: &[Edit]) -> Result<(), Error> {
    let mut next = session.active.clone();
    edits.iter().for_each(|edit| next.edit(edit));
    let mut problems = dangling(&next, session, edits);
    problems.extend(clashes(catalog, session, &next, edits));
    problems.sort();
    problems.dedup();
    if problems.is_empty() {
        return Ok(());
    }
    let conflict = problems.iter().any(|problem| problem.with_another_service);
    let listed =
        problems.iter().take(PROBLEMS_MAX).map(|problem| format!("route {}: {}", problem.route, problem.words));
    let mut message = listed.collect::<Vec<_>>().join("; ");
    if let Some(more) = problems.len().checked_sub(PROBLEMS_MAX).filter(|more| *more > 0) {
        message = format!("{message}; and {more} more");
    }
    Err(Error::new(if conflict { Kind::Conflict } else { Kind::Refused }, message))
}

/// Settings of routes that would not be there. Only what the edits touch can begin to dangle.
fn dangling(next: &Config, session: &Session, edits: &[Edit]) -> Vec<Problem> {
    let mut problems = Vec::new();
    for edit in edits {
        match edit {
            Edit::Route(id, None) => {
                problems.extend(next.settings_of(*id).iter().map(|left| without_route(session, *id, left)));
            }
            Edit::Route(_, Some(_)) => {}
            setting => {
                let route = setting.target().route().filter(|_| !setting.removes());
                let gone = route.filter(|id| !next.routes.contains_key(id));
                problems.extend(gone.map(|id| without_route(session, id, setting)));
            }
        }
    }
    problems
}

fn without_route(session: &Session, route: RouteId, setting: &Edit) -> Problem {
    let what = match setting {
        Edit::Header(_, name, _) => format!("header {}", name.as_str()),
        Edit::Option(_, key, _) => format!("option {key}"),
        Edit::Health(..) => "a health check".to_owned(),
        Edit::RateLimit(..) => "a rate limit".to_owned(),
        Edit::Breaker(..) => "a circuit breaker".to_owned(),
        Edit::Route(..) => "a route".to_owned(),
    };
    let section = setting.section();
    let words = if !session.edited().routes.contains_key(&route) && session.active.routes.contains_key(&route) {
        format!("is staged for removal but keeps {what}; apply {section} with routes, or CONFIG_ROLLBACK")
    } else {
        format!("has {what} but is not active; apply routes with {section}")
    };
    Problem { route, words, with_another_service: false }
}

/// Claims that the edited routes would share with another route of the session, or another service's.
fn clashes(catalog: &Catalog, session: &Session, next: &Config, edits: &[Edit]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut seen: HashMap<Claim, RouteId> = HashMap::new();
    for route in edits.iter().filter_map(Edit::new_route) {
        for claim in route.claims() {
            problems.extend(held_by_another_service(catalog, session, route, &claim));
            let own = held_by_own_route(catalog, session, next, route, &claim);
            let first = seen.insert(claim.clone(), route.id).or(own);
            problems.extend(first.map(|first| claimed_twice(first, route.id, &claim)));
        }
    }
    problems
}

fn held_by_another_service(catalog: &Catalog, session: &Session, route: &Route, claim: &Claim) -> Option<Problem> {
    let holder = &catalog.claimants(claim)?.service;
    (*holder != session.head.service).then(|| Problem {
        route: route.id,
        words: format!("{} {} at priority {} is held by service {holder}", claim.host, claim.path, claim.priority),
        with_another_service: true,
    })
}

/// Another route of the session that holds the claim now and would still hold it.
fn held_by_own_route(
    catalog: &Catalog,
    session: &Session,
    next: &Config,
    route: &Route,
    claim: &Claim,
) -> Option<RouteId> {
    let held = catalog.claimants(claim)?.routes.iter();
    let mut others = held.filter(|(key, id)| *key == session.key && *id != route.id).map(|(_, id)| *id);
    others.find(|id| next.routes.get(id).is_some_and(|other| other.claims().any(|held| held == *claim)))
}

fn claimed_twice(first: RouteId, second: RouteId, claim: &Claim) -> Problem {
    let (first, second) = (first.min(second), first.max(second));
    Problem {
        route: second,
        words: format!("{} {} at priority {} is what {first} has already", claim.host, claim.path, claim.priority),
        with_another_service: false,
    }
}
