//! The check of a whole configuration before it becomes active. It finds settings without a route, and claims that two
//! routes or two services would share.

use std::collections::HashMap;

use crate::domain::{Catalog, Claim, Claimants, Config, Edit, Error, Kind, Route, RouteId, Session};

use super::holder::holder;

/// The largest number of problems in one message.
const PROBLEMS_MAX: usize = 20;

/// A problem that only a look at the whole configuration finds.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct ConfigProblem {
    route: RouteId,
    words: String,
    with_another_service: bool,
}

/// Refuses edits that would make the session's configuration inconsistent, and names every problem.
pub(crate) fn check(catalog: &Catalog, session: &Session, edits: &[Edit]) -> Result<(), Error> {
    let mut next = session.active.clone();
    edits.iter().for_each(|edit| next.edit(edit));
    let mut problems = settings_without_route(&next, session, edits);
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

/// Returns the settings that would have no route. Only edited entries can lose their route.
fn settings_without_route(next: &Config, session: &Session, edits: &[Edit]) -> Vec<ConfigProblem> {
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

fn without_route(session: &Session, route: RouteId, setting: &Edit) -> ConfigProblem {
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
    ConfigProblem { route, words, with_another_service: false }
}

/// Returns the claims of edited routes that another route of the session, or another service, would hold too.
fn clashes(catalog: &Catalog, session: &Session, next: &Config, edits: &[Edit]) -> Vec<ConfigProblem> {
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

fn held_by_another_service(
    catalog: &Catalog,
    session: &Session,
    route: &Route,
    claim: &Claim,
) -> Option<ConfigProblem> {
    let claimants = catalog.claimants(claim).filter(|held| held.service != session.record.service)?;
    let (service, instance) = (&claimants.service, holding_instance(catalog, session, claimants).unwrap_or_default());
    Some(ConfigProblem {
        route: route.id,
        words: format!(
            "{} {} at priority {} is held by service {service}{instance}",
            claim.host, claim.path, claim.priority
        ),
        with_another_service: true,
    })
}

/// Returns words for an instance that holds a claim. Services only hear of each other's names.
fn holding_instance(catalog: &Catalog, session: &Session, claimants: &Claimants) -> Option<String> {
    let (key, _) = claimants.routes.first()?;
    let record = &catalog.by_key(*key)?.record;
    let by_service = !session.record.owner.is_permanent();
    if by_service && !record.owner.is_permanent() {
        return None;
    }
    Some(format!(" (instance {}, held by {})", record.instance, holder(record, !by_service)))
}

/// Returns another route of the session that holds the claim now and keeps it.
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

fn claimed_twice(first: RouteId, second: RouteId, claim: &Claim) -> ConfigProblem {
    let (first, second) = (first.min(second), first.max(second));
    ConfigProblem {
        route: second,
        words: format!("{} {} at priority {} is what {first} has already", claim.host, claim.path, claim.priority),
        with_another_service: false,
    }
}
