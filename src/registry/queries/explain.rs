//! Explains which backend gets a request: the routes that match, the winner with its rule, and its members.
//!
//! It reads every route one by one, and so checks the routing table, which is compiled for speed. Invariant: both name
//! the same winner (`tests/it/explain.rs`).

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{
    BackendUrl, BreakerState, Catalog, Change, Error, Host, InstanceName, PathPrefix, Route, RouteId, Sections,
    ServiceName, Session, Time,
};
use crate::json::numbers::Priority;

use crate::registry::ports::Traffic;
use crate::registry::registration_tokens::RegistrationTokens;

use super::configuration::validate;
use super::explained_request::{check_method, request_host, request_path};
use super::member_state::TrafficView;
use super::near_match::near_match;
use super::session::traffic_percent;
use super::views::{CheckOutcomeView, FailureView, Preference};

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

/// The explanation of a request: its outcome and the reasons.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Explanation)]
#[expect(missing_docs, reason = "the others are what their names say")]
pub struct ExplainView {
    pub host: String,
    pub path: String,
    #[schema(required)]
    pub method: Option<String>,
    /// The configuration that the explanation is for.
    pub configuration: ExplainedConfiguration,
    /// The reason for which the staged configuration could not be applied.
    #[schema(required)]
    pub problem: Option<String>,
    pub outcome: ExplainOutcome,
    /// The outcome in words.
    pub reason: String,
    /// The matching candidates, the one that wins first; at most 100.
    pub candidates: Vec<CandidateView>,
}

/// The configuration that an explanation uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Which)]
pub enum ExplainedConfiguration {
    /// The active configuration.
    Active,
    /// The active configuration with the staged changes of an instance.
    Staged,
}

/// The outcome for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Outcome)]
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

/// A domain, path and priority that the request matches, with the service that holds them.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Candidate)]
#[expect(missing_docs, reason = "the keys are those of routes")]
pub struct CandidateView {
    #[schema(value_type = ServiceName)]
    pub service_name: String,
    pub domain: String,
    #[schema(value_type = PathPrefix)]
    pub path: String,
    #[schema(value_type = Priority)]
    pub priority: i32,
    pub wins: bool,
    /// The rule by which it wins or loses, in words.
    pub rule: String,
    #[schema(value_type = u64, minimum = 1)]
    pub members_total: usize,
    /// The first 100 of its routes.
    pub members: Vec<MemberView>,
}

/// One of the routes that share a domain, path and priority.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Member)]
#[expect(missing_docs, reason = "the keys are those of other answers")]
pub struct MemberView {
    pub instance_name: InstanceName,
    pub route_id: RouteId,
    pub backend: BackendUrl,
    pub healthy: bool,
    pub state: BreakerState,
    pub in_maintenance: bool,
    #[schema(maximum = 100)]
    pub traffic_percent: u64,
    /// True if it would get one of the next requests.
    pub takes_requests: bool,
    /// The last health check; `null` before the first.
    #[schema(required)]
    pub last_check: Option<CheckOutcomeView>,
    /// The last health check that failed.
    #[schema(required)]
    pub last_failed_check: Option<CheckOutcomeView>,
    /// The last request that its backend failed: it did not respond, or its breaker counted the response.
    #[schema(required)]
    pub last_failure: Option<FailureView>,
}

/// The largest number of candidates, and of members of each, in the answer.
const SHOWN_MAX: usize = 100;

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
        reason.push_str(&near_match(&catalog, &host, path));
    }
    Ok(ExplainView {
        host,
        path: path.to_owned(),
        method: ask.method.clone(),
        configuration: match ask.staged {
            Some(_) => ExplainedConfiguration::Staged,
            None => ExplainedConfiguration::Active,
        },
        problem,
        outcome,
        reason,
        candidates,
    })
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
                let rank = (Reverse(rule.specificity()), Reverse(route.priority), Reverse(route.path.as_str().len()));
                let candidate = ranked.entry(rank).or_insert(RankedRoutes { host: rule, members: Vec::new() });
                candidate.members.push((session, route));
            }
        }
    }
    ranked
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
        instance_name: session.record.instance.clone(),
        route_id: route.id,
        backend: route.backend.clone(),
        healthy: known.healthy,
        state: known.state,
        in_maintenance,
        traffic_percent: percent,
        takes_requests: !in_maintenance && percent > 0 && !gated && !shut && !known.refuses,
        last_check: known.last_check.map(Into::into),
        last_failed_check: known.last_failed_check.map(Into::into),
        last_failure: known.last_failed_request,
    };
    (member, known.preference)
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
        Some((member, check.reason.as_ref()?))
    });
    let Some((member, error)) = failed else { return String::new() };
    let MemberView { instance_name, backend, .. } = member;
    format!("; the last health check of {backend} ({instance_name}) failed: {error}")
}
