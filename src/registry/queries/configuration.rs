//! Views of a session's configurations: both in full, their difference, and the result of validation.

use std::sync::Arc;

use crate::domain::{
    Breaker, Catalog, Config, Edit, Error, HeaderKey, HealthCheck, OptionKey, Options, RateLimit, Route, RouteId,
    Section, Sections, Session, Span, Target, acting_timeout,
};

use crate::registry::commands::apply::staged_edits;
use crate::registry::commands::conflicts::check;
use crate::registry::commands::takeover::lost_routes;
use crate::registry::registration_tokens::RegistrationTokens;

use super::views::{
    BreakerEntry, ConfigPart, ConfigView, DiffView, HeaderEntry, HealthEntry, LimitEntry, OptionEntry, RouteEntry,
    RoutesDiff,
};

/// Answers `CONFIG_VALIDATE`: returns the refusal that a whole apply would get, or the warnings about it.
pub(crate) fn validate(
    catalog: &Catalog,
    session: &Session,
    tokens: &RegistrationTokens,
) -> Result<Vec<String>, Error> {
    let edits = staged_edits(session, Sections::ALL);
    tokens.check_edits(session, &edits)?;
    check(catalog, session, &edits)?;
    Ok(warnings(catalog, session, edits.iter()))
}

/// Answers `CONFIG_DIFF`.
pub(crate) fn diff(catalog: &Catalog, session: &Session) -> DiffView {
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

/// Returns warnings about staged values without effect or with another effect, and about routes that end with the apply.
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
        .chain(lost_routes(catalog, session))
        .collect()
}

const TIMEOUT_KEY: &str = "health_check_timeout";

/// Returns words for a timeout of a health check that acts shorter than it is set.
fn acts_shorter(interval: Span, timeout: Span) -> Option<String> {
    let acts = acting_timeout(interval, timeout);
    (acts < timeout).then(|| format!("{timeout} acts as {acts}: at most the interval and {}", HealthCheck::TIMEOUT_MAX))
}

/// Answers the query of gRPC and REST for both configurations in full.
pub(crate) fn config(session: &Session) -> ConfigView {
    ConfigView {
        revision: session.record.revision,
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

/// Returns the key of an edit that sets an option which no version of the protocol knows.
pub(crate) fn unknown_option(edit: &Edit) -> Option<&str> {
    match edit {
        Edit::Option(_, key, Some(value)) if Options::default().set(key.as_str(), value) == Ok(false) => {
            Some(key.as_str())
        }
        _ => None,
    }
}
