//! Views of a session's configurations: both in full, their difference, and the result of validation.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{
    BackendUrl, Breaker, Catalog, Config, Edit, Error, HeaderKey, HealthCheck, HealthPath, Host, OptionKey, Options,
    PathPrefix, RateLimit, Route, RouteId, Section, Sections, Session, Span, Tally, Target, acting_timeout,
};
use crate::json::numbers::{Count, Priority};
use crate::json::values::{Domains, HeaderText};

use crate::registry::commands::apply::staged_edits;
use crate::registry::commands::conflicts::check;
use crate::registry::commands::takeover::lost_routes;
use crate::registry::registration_tokens::RegistrationTokens;

/// The changes that the next apply would make.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Diff)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct DiffView {
    pub routes: RoutesDiff,
    pub headers: TallyView,
    pub options: TallyView,
    pub health: TallyView,
    pub ratelimit: TallyView,
    pub circuit: TallyView,
    /// The warnings: staged entries without effect, such as unknown options, and routes of the replaced session that an
    /// apply would remove.
    pub warnings: Vec<String>,
}

/// The routes that would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct RoutesDiff {
    pub added: Vec<RouteId>,
    pub removed: Vec<RouteId>,
    pub modified: Vec<RouteId>,
}

/// The numbers of entries of another section that would change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Tally)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub struct TallyView {
    #[schema(value_type = u64)]
    pub added: usize,
    #[schema(value_type = u64)]
    pub removed: usize,
    #[schema(value_type = u64)]
    pub modified: usize,
}

impl From<Tally> for TallyView {
    fn from(tally: Tally) -> Self {
        Self { added: tally.added, removed: tally.removed, modified: tally.modified }
    }
}

/// The configurations of a session.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = SessionConfig)]
pub struct ConfigView {
    /// The number of applies that changed something.
    pub revision: u64,
    /// The active configuration.
    pub active: ConfigPart,
    /// The configuration after the next apply; `null` if nothing is staged.
    #[schema(required)]
    pub staged: Option<ConfigPart>,
}

/// One configuration.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ConfigurationPart)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct ConfigPart {
    pub routes: Vec<RouteEntry>,
    pub headers: Vec<HeaderEntry>,
    pub options: Vec<OptionEntry>,
    pub health_checks: Vec<HealthEntry>,
    pub rate_limits: Vec<LimitEntry>,
    pub circuit_breakers: Vec<BreakerEntry>,
}

/// A route of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ConfiguredRoute)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct RouteEntry {
    pub route_id: RouteId,
    #[schema(value_type = Domains)]
    pub domains: Vec<Host>,
    pub path: PathPrefix,
    pub backend: BackendUrl,
    #[schema(value_type = Priority)]
    pub priority: i32,
}

/// A response header of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ConfiguredHeader)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct HeaderEntry {
    pub target: Target,
    #[schema(value_type = String)]
    pub name: HeaderKey,
    #[schema(value_type = HeaderText)]
    pub value: String,
}

/// An option of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ConfiguredOption)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct OptionEntry {
    pub target: Target,
    /// The key; it may be unknown, because the line protocol accepts any.
    #[schema(value_type = String)]
    pub key: OptionKey,
    pub value: String,
}

/// A health check of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ConfiguredCheck)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct HealthEntry {
    pub route_id: RouteId,
    #[schema(value_type = PathPrefix)]
    pub path: HealthPath,
    /// A duration in the spelling of Go, such as `1m30s`.
    #[schema(value_type = String)]
    pub interval: Span,
    /// A duration in the spelling of Go, such as `1m30s`.
    #[schema(value_type = String)]
    pub timeout: Span,
}

/// A rate limit of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ConfiguredLimit)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct LimitEntry {
    pub target: Target,
    #[schema(value_type = Count)]
    pub requests: u32,
    /// A duration in the spelling of Go, such as `1m30s`.
    #[schema(value_type = String)]
    pub window: Span,
}

/// A circuit breaker of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ConfiguredBreaker)]
#[expect(missing_docs, reason = "the protocol names and explains what is set")]
pub struct BreakerEntry {
    pub target: Target,
    #[schema(value_type = Count)]
    pub threshold: u32,
    /// A duration in the spelling of Go, such as `1m30s`.
    #[schema(value_type = String)]
    pub timeout: Span,
    #[schema(value_type = Count)]
    pub half_open_requests: u32,
}

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

pub(super) fn part(config: &Config) -> ConfigPart {
    let route = |route: &Arc<Route>| RouteEntry {
        route_id: route.id,
        domains: route.domains.clone(),
        path: route.path.clone(),
        backend: route.backend.clone(),
        priority: route.priority,
    };
    let header = |((target, name), value): (&(_, HeaderKey), &Arc<str>)| HeaderEntry {
        target: *target,
        name: name.clone(),
        value: value.to_string(),
    };
    let option = |((target, key), value): (&(_, OptionKey), &Arc<str>)| OptionEntry {
        target: *target,
        key: key.clone(),
        value: value.to_string(),
    };
    let check = |(id, check): (&RouteId, &HealthCheck)| HealthEntry {
        route_id: *id,
        path: check.path.clone(),
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
