//! Explains which backend gets a request: the routes that match, the winner with its rule, and its members.
//!
//! It reads every route one by one, and so checks the routing table, which is compiled for speed. Invariant: both name
//! the same winner (`tests/it/explain.rs`).

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::domain::{
    AboveRoot, BreakerState, Catalog, Change, Error, Host, InstanceName, RequestPath, Route, RouteId, Sections,
    ServiceName, Session, Time,
};

use crate::registry::ports::Traffic;
use crate::registry::registration_tokens::RegistrationTokens;

use super::configuration::validate;
use super::member_state::TrafficView;
use super::session::traffic_percent;
use super::views::{CheckView, Preference, shown, state};

/// A request to explain.
#[derive(Clone, Debug)]
pub struct Explain {
    /// The value of the `Host` field: a name or an address, with or without a port.
    pub host: String,
    /// The path as in the request line; a query is ignored.
    pub path: String,
    /// The method. It is checked and shown, but does not change the route.
    pub method: Option<String>,
    /// The instance whose staged configuration is treated as applied; `None` for the active configuration.
    pub staged: Option<(ServiceName, InstanceName)>,
}

/// The explanation of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainView {
    /// The host, in the spelling of routes.
    pub host: String,
    /// The path that is matched.
    pub path: String,
    /// The method of the request to explain.
    pub method: Option<String>,
    /// The configuration: `active` or `staged`.
    pub configuration: &'static str,
    /// The reason for which the staged configuration cannot be applied; `None` if it can.
    pub problem: Option<String>,
    /// The outcome of the request.
    pub outcome: ExplainOutcome,
    /// The outcome in words.
    pub reason: String,
    /// The matches, the winner first; at most 100.
    pub candidates: Vec<CandidateView>,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExplainOutcome {
    /// The request goes to a backend.
    Forwarded,
    /// The maintenance page answers the request.
    Maintenance,
    /// The request gets 503, because no member takes requests now.
    Unavailable,
    /// No route matches the request.
    NoRoute,
}

/// A host, path and priority that the request matches, with the routes that have them.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the keys are those of ROUTE_LIST_OK")]
pub struct CandidateView {
    pub service_name: String,
    pub domain: String,
    pub path: String,
    pub priority: i32,
    /// True if the request goes to one of these routes.
    pub wins: bool,
    /// The rule by which the candidate wins, or the candidate that shadows it.
    pub rule: String,
    /// The number of its routes.
    pub members_total: usize,
    /// The first 100 of its routes.
    pub members: Vec<MemberView>,
}

/// One of the routes that share a host, path and priority.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[expect(missing_docs, reason = "the keys are those of other payloads")]
pub struct MemberView {
    pub instance_name: String,
    #[serde(serialize_with = "shown")]
    pub route_id: RouteId,
    pub backend: String,
    pub healthy: bool,
    #[serde(serialize_with = "state")]
    pub state: BreakerState,
    pub in_maintenance: bool,
    pub traffic_percent: u64,
    /// True if the member would get one of the next requests.
    pub takes_requests: bool,
    /// The last health check; `None` before the first.
    pub last_check: Option<CheckView>,
    /// The last health check that failed.
    pub last_failed_check: Option<CheckView>,
}

/// The largest number of candidates, and of members of each, in the answer.
const SHOWN_MAX: usize = 100;
/// The largest number of bytes of a path.
const PATH_BYTES_MAX: usize = 8 * 1024;

/// The order of candidates: the most specific host, then the highest priority, then the longest path.
type RouteRank = (Reverse<usize>, Reverse<i32>, Reverse<usize>);

/// The routes of one rank, which have the same host, path and priority.
struct RankedRoutes<'a> {
    host: &'a Host,
    members: Vec<(&'a Session, &'a Route)>,
}

/// Explains which backend would get a request, and why.
///
/// # Errors
/// `Invalid` for a wrong host, path or method, `NotFound` when there is no such instance.
pub fn explain(
    catalog: &Catalog,
    ask: &Explain,
    tokens: &RegistrationTokens,
    traffic: &dyn Traffic,
    now: Time,
) -> Result<ExplainView, Error> {
    let (host, path) = (request_host(&ask.host)?, request_path(&ask.path)?);
    let path = &*path;
    check_method(ask.method.as_deref())?;
    let view_of_traffic = TrafficView { active: catalog, traffic, now };
    let (catalog, problem) = match &ask.staged {
        None => (catalog.clone(), None),
        Some((service, instance)) => applied_catalog(catalog, service, instance, tokens)?,
    };
    let ranked = rank(&catalog, &host, path);
    let winner = ranked.first_key_value().map(|(rank, _)| *rank);
    let runner_up = ranked.keys().nth(1).copied();
    let candidates: Vec<CandidateView> = ranked
        .iter()
        .take(SHOWN_MAX)
        .map(|(rank, candidate)| {
            let wins = Some(*rank) == winner;
            let rule = if wins { why_it_wins(*rank, runner_up) } else { why_not(*rank, winner, &ranked) };
            view(candidate, wins, rule, view_of_traffic)
        })
        .collect();
    let (outcome, mut reason) = outcome(&ranked, view_of_traffic);
    if outcome == ExplainOutcome::NoRoute {
        reason.push_str(&staged_for(&catalog, &host, path));
    }
    Ok(ExplainView {
        host,
        path: path.to_owned(),
        method: ask.method.clone(),
        configuration: if ask.staged.is_some() { "staged" } else { "active" },
        problem,
        outcome,
        reason,
        candidates,
    })
}

/// Returns the host without its port, in the spelling of routes.
fn request_host(field: &str) -> Result<String, Error> {
    let (name, port) = match field.rsplit_once(':') {
        Some((name, port)) if !field.ends_with(']') => (name, port),
        _ => (field, ""),
    };
    let wrong = || Error::invalid("host", "must be a host name or address, with or without a port");
    if port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    match Host::parse(name) {
        Ok(Host::Exact(name)) => Ok(name.to_string()),
        Ok(Host::Below(_) | Host::Any) | Err(_) => Err(wrong()),
    }
}

/// Returns the path in the form that is matched.
fn request_path(text: &str) -> Result<Cow<'_, str>, Error> {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let visible = path.bytes().all(|byte| byte.is_ascii_graphic());
    if path.starts_with('/') && visible && path.len() <= PATH_BYTES_MAX {
        let read = RequestPath::read(path);
        return read
            .map(|read| read.matched)
            .map_err(|AboveRoot| Error::invalid("path", "leads above /: such a request gets 400"));
    }
    Err(Error::invalid("path", "must begin with / and be as it stands in a request, others than ASCII percent-encoded"))
}

fn check_method(method: Option<&str>) -> Result<(), Error> {
    let token = |method: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !method.is_empty() && method.len() <= 32 && method.bytes().all(known)
    };
    // RFC 9110 §9.1
    if method.is_none_or(token) { Ok(()) } else { Err(Error::invalid("method", "is not an HTTP method; write GET")) }
}

/// Returns the catalog after an apply of an instance's staged configuration, with the refusal that the apply would get.
fn applied_catalog(
    catalog: &Catalog,
    service: &ServiceName,
    instance: &InstanceName,
    tokens: &RegistrationTokens,
) -> Result<(Catalog, Option<String>), Error> {
    let session = catalog.of_instance(service, instance).ok_or_else(|| Error::no_instance(service, instance))?;
    let problem = validate(catalog, session, tokens).err().map(|refused| refused.to_string());
    let edits: Arc<[_]> = session.difference().edits().cloned().collect();
    let mut draft = catalog.clone();
    if let Some(replaced) = catalog.replaced_of(&session.record) {
        draft.absorb(&Change::End(replaced));
    }
    draft.absorb(&Change::Apply { key: session.key, sections: Sections::ALL, edits });
    Ok((draft, problem))
}

fn rank<'a>(catalog: &'a Catalog, host: &str, path: &str) -> BTreeMap<RouteRank, RankedRoutes<'a>> {
    let mut ranked: BTreeMap<RouteRank, RankedRoutes<'a>> = BTreeMap::new();
    for session in catalog.sessions() {
        for route in session.active.routes.values().filter(|route| route.path.covers(path)) {
            for rule in route.domains.iter().filter(|rule| rule.covers(host)) {
                let rank = (Reverse(specificity(rule)), Reverse(route.priority), Reverse(route.path.as_str().len()));
                let candidate = ranked.entry(rank).or_insert(RankedRoutes { host: rule, members: Vec::new() });
                candidate.members.push((session, route));
            }
        }
    }
    ranked
}

/// Returns the rank of a host rule. Of two rules that cover the same host, the more specific one has the higher rank.
fn specificity(rule: &Host) -> usize {
    match rule {
        Host::Exact(_) => usize::MAX,
        Host::Below(base) => base.len(),
        Host::Any => 0,
    }
}

fn why_it_wins(rank: RouteRank, runner_up: Option<RouteRank>) -> String {
    let Some(other) = runner_up else { return "the only match".to_owned() };
    let rule = if rank.0 != other.0 {
        "its domain is the most specific"
    } else if rank.1 != other.1 {
        "its priority is the highest of the domain"
    } else {
        "its path is the longest of the domain and priority"
    };
    rule.to_owned()
}

fn why_not(rank: RouteRank, winner: Option<RouteRank>, ranked: &BTreeMap<RouteRank, RankedRoutes<'_>>) -> String {
    let Some((best, candidate)) = winner.and_then(|winner| ranked.get_key_value(&winner)) else { return String::new() };
    if rank.0 != best.0 {
        format!("shadowed: domain {} is more specific", candidate.host)
    } else if rank.1 != best.1 {
        format!("shadowed: priority {} goes before {}", best.1.0, rank.1.0)
    } else {
        let path = candidate.members.first().map(|(_, route)| route.path.as_str()).unwrap_or_default();
        format!("shadowed: path {path} is longer")
    }
}

fn view(candidate: &RankedRoutes<'_>, wins: bool, rule: String, view_of_traffic: TrafficView<'_>) -> CandidateView {
    let first = candidate.members.first();
    CandidateView {
        service_name: first.map(|(session, _)| session.record.service.to_string()).unwrap_or_default(),
        domain: candidate.host.to_string(),
        path: first.map(|(_, route)| route.path.to_string()).unwrap_or_default(),
        priority: first.map_or(0, |(_, route)| route.priority),
        wins,
        rule,
        members_total: candidate.members.len(),
        members: members(candidate, view_of_traffic).into_iter().take(SHOWN_MAX).collect(),
    }
}

/// Returns all members of a candidate. As in traffic, members of lower preference get requests only while no other
/// member can.
fn members(candidate: &RankedRoutes<'_>, view_of_traffic: TrafficView<'_>) -> Vec<MemberView> {
    let members = candidate.members.iter().map(|(session, route)| member(session, route, view_of_traffic));
    let (mut members, preferences): (Vec<_>, Vec<_>) = members.unzip();
    let able = preferences.iter().zip(&members).filter(|(_, member)| member.takes_requests);
    let best = able.map(|(preference, _)| *preference).max();
    for (member, preference) in members.iter_mut().zip(preferences) {
        member.takes_requests &= Some(preference) == best;
    }
    members
}

/// Returns a member, which takes requests if no other can, with its preference.
fn member(session: &Session, route: &Route, view_of_traffic: TrafficView<'_>) -> (MemberView, Preference) {
    let (known, now) = (view_of_traffic.of(session, route), view_of_traffic.now);
    let (in_maintenance, percent) = (session.record.maintenance.of(route.id).is_some(), traffic_percent(session, now));
    let gated = !known.healthy && session.active.health.contains_key(&route.id);
    // An open breaker whose timeout has passed lets the next request through as a trial.
    let shut = known.state == BreakerState::Open && known.next_attempt.is_some_and(|at| at > now);
    let member = MemberView {
        instance_name: session.record.instance.to_string(),
        route_id: route.id,
        backend: route.backend.to_string(),
        healthy: known.healthy,
        state: known.state,
        in_maintenance,
        traffic_percent: percent,
        takes_requests: !in_maintenance && percent > 0 && !gated && !shut && !known.refuses,
        last_check: known.last_check,
        last_failed_check: known.last_failed_check,
    };
    (member, known.preference)
}

/// Returns words for the first session that has staged a matching route; empty if there is none.
fn staged_for(catalog: &Catalog, host: &str, path: &str) -> String {
    let covers = |route: &Route| route.path.covers(path) && route.domains.iter().any(|rule| rule.covers(host));
    let staged = catalog.sessions().find_map(|session| {
        let route = session.staged.as_ref()?.config.routes.values().find(|route| covers(route))?;
        Some((session, route.id))
    });
    let Some((session, route)) = staged else { return String::new() };
    let (service, instance) = (&session.record.service, &session.record.instance);
    format!("; {route} of {service}/{instance} would match: it is staged, not applied (CONFIG_APPLY)")
}

fn outcome(
    ranked: &BTreeMap<RouteRank, RankedRoutes<'_>>,
    view_of_traffic: TrafficView<'_>,
) -> (ExplainOutcome, String) {
    let Some((_, winner)) = ranked.first_key_value() else {
        return (ExplainOutcome::NoRoute, "no active route has this host and path".to_owned());
    };
    let members = members(winner, view_of_traffic);
    let (all, ready) = (members.len(), members.iter().filter(|member| member.takes_requests).count());
    if ready > 0 {
        return (
            ExplainOutcome::Forwarded,
            format!("forwarded: {ready} of {all} members take requests{}", failing(&members)),
        );
    }
    match members.iter().filter(|member| member.in_maintenance).count() {
        0 => {
            let why = "drained, unhealthy or behind an open circuit breaker";
            (ExplainOutcome::Unavailable, format!("503: all {all} members are {why}{}", failing(&members)))
        }
        some => {
            let why = format!("{some} of {all} members are in maintenance and no other takes requests");
            (ExplainOutcome::Maintenance, format!("503 with the maintenance page: {why}"))
        }
    }
}

/// Returns words for the first failed check of the members. Members that take requests come first, because the check may explain a 502.
fn failing(members: &[MemberView]) -> String {
    let taking = members.iter().any(|member| member.takes_requests);
    let failed = members.iter().filter(|member| member.takes_requests == taking).find_map(|member| {
        let check = member.last_check.as_ref()?;
        Some((member, check.error.as_ref()?))
    });
    let Some((member, error)) = failed else { return String::new() };
    let MemberView { instance_name, backend, .. } = member;
    format!("; the last health check of {backend} ({instance_name}) failed: {error}")
}
