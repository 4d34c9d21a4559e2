//! The pages that must answer before a maintenance request ends: its maintenance page, or the backends of its routes.

use std::collections::{BTreeSet, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::domain::{Catalog, Error, Options, PageUrl, PendingKind, Route, RouteId, Session, StatusRanges, Target};

use crate::registry::commands::Verification;
use crate::registry::commands::maintenance::cancelled;
use crate::registry::ports::PageTrust;

/// A page that must answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Awaited {
    pub(crate) page: PageUrl,
    /// The way in which the page is fetched, with the policy for its certificate.
    pub(crate) trust: PageTrust,
    /// The statuses that count as an answer; `None` for all below 500.
    expected: Option<StatusRanges>,
}

impl Awaited {
    /// Returns true if this status counts as an answer.
    pub(crate) fn accepts(&self, status: u16) -> bool {
        self.expected.as_ref().map_or(status < 500, |expected| expected.contains(status))
    }
}

/// Returns some of the pages that must answer, from the routes after `after`, and the last route that was read if there
/// may be more.
///
/// It reads the present state of the session, because an apply may change or remove backends during the wait.
///
/// # Errors
/// `NotFound` when the session has ended, `Conflict` when a newer request replaced this one.
pub(crate) fn awaited(
    verification: &Verification,
    catalog: &Catalog,
    defaults: &Options,
    after: RouteId,
) -> Result<(Vec<Awaited>, Option<RouteId>), Error> {
    let session = catalog.by_key(verification.key).ok_or(Error::invalid_session())?;
    let pending = session.pending.iter().find(|pending| pending.ticket == verification.ticket).ok_or_else(cancelled)?;
    Ok(match verification.kind {
        // The page is fetched in the same way as later, when it is shown.
        PendingKind::Enter => {
            let shown = |page: &PageUrl| Awaited { page: page.clone(), trust: PageTrust::Required, expected: None };
            (verification.page.iter().map(shown).collect(), None)
        }
        PendingKind::Exit => backends(session, defaults, &pending.targets, after),
    })
}

/// The number of routes that one step reads. A session may have very many.
const ROUTES_AT_ONCE: usize = 256;

/// Returns the backends of the next active routes that leave maintenance, each once, and the last route that was read
/// if there may be more.
fn backends(
    session: &Session,
    defaults: &Options,
    targets: &[Target],
    after: RouteId,
) -> (Vec<Awaited>, Option<RouteId>) {
    let active = &session.active.routes;
    let routes: Vec<(RouteId, &Arc<Route>)> = if targets.contains(&Target::All) {
        let later = active.range((Bound::Excluded(after), Bound::Unbounded));
        later.take(ROUTES_AT_ONCE).map(|(id, route)| (*id, route)).collect()
    } else {
        let later: BTreeSet<RouteId> =
            targets.iter().copied().filter_map(Target::route).filter(|id| *id > after).collect();
        later.into_iter().filter_map(|id| Some((id, active.get(&id)?))).take(ROUTES_AT_ONCE).collect()
    };
    let more = routes.last().filter(|_| routes.len() == ROUTES_AT_ONCE).map(|(id, _)| *id);
    let waiting = routes.into_iter().filter(|(id, _)| session.record.maintenance.of(*id).is_some());
    let shared = session.active.options_over(defaults, Target::All);
    let mut seen = HashSet::new();
    let awaited = waiting
        .map(|(id, route)| {
            let options = session.active.options_over(&shared, Target::Route(id));
            let path = session.active.health.get(&id).map_or(&options.health_check_path, |check| &check.path);
            let (page, host) = (PageUrl::of_backend(&route.backend, path), options.check_host(&route.domains));
            let expected = options.health_check_status;
            let manner = (page.clone(), host, options.health_check_method, options.tls_verify, expected.clone());
            (Awaited { page, trust: PageTrust::AsRoute(session.key, id), expected }, manner)
        })
        // Routes with the same page, host, method, policy for certificates and expected statuses need only one probe.
        .filter_map(|(awaited, manner)| seen.insert(manner).then_some(awaited))
        .collect();
    (awaited, more)
}
