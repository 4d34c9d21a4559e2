//! The decision of a guard: an apply is taken back when the share of 5xx has risen too far.
//!
//! Pure: the figures are arguments.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::{Config, Edit, Failures, Guard, RouteId, Target};

/// The number of requests since the apply from which on a guard decides.
const REQUESTS_MIN: u64 = 50;
/// The rise of the share, in percent points, at which the apply is taken back.
const RISE_POINTS: u64 = 5;
/// Larger counts are taken for this, so that products of two fit.
const COUNT_MAX: u64 = 1 << 56;

/// Returns the reason to take an apply back, from the requests on its routes before it and since; `None` to keep it.
pub(crate) fn verdict(before: Failures, since: Failures) -> Option<String> {
    if since.requests < REQUESTS_MIN {
        return None;
    }
    // Shares as products, because divisions would round. Without requests before, the share was 0.
    let [was, whole, now, all] = [before.failed, before.requests.max(1), since.failed, since.requests]
        .map(|count| u128::from(count.min(COUNT_MAX)));
    let has_risen = 100 * now * whole >= 100 * was * all + u128::from(RISE_POINTS) * all * whole;
    has_risen.then(|| {
        format!("guard: 5xx on {since} requests since the apply, {before} before; a rise by {RISE_POINTS} points is too much")
    })
}

/// Returns the routes of `next` that edits touch. A setting for all routes touches each.
pub(crate) fn touched<'a>(next: &Config, edits: impl Iterator<Item = &'a Edit>) -> BTreeSet<RouteId> {
    let mut touched = BTreeSet::new();
    for edit in edits {
        match edit.target() {
            Target::All => return next.routes.keys().copied().collect(),
            Target::Route(id) => touched.extend(next.routes.contains_key(&id).then_some(id)),
        }
    }
    touched
}

/// Returns the guard of an apply. `seen` are the counts of the session's routes at the apply. `is_new` tells the routes
/// whose counts begin anew with it, because they have another backend.
pub(crate) fn guard(
    touched: &BTreeSet<RouteId>,
    seen: &BTreeMap<RouteId, Failures>,
    is_new: impl Fn(RouteId) -> bool,
) -> Guard {
    let count = |id: RouteId| seen.get(&id).copied().unwrap_or_default();
    let before = touched.iter().map(|id| count(*id)).fold(Failures::default(), Failures::plus);
    let start = |id: RouteId| if is_new(id) { Failures::default() } else { count(id) };
    Guard { before, routes: touched.iter().map(|id| (*id, start(*id))).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(requests: u64, failed: u64) -> Failures {
        Failures { requests, failed }
    }

    #[test]
    fn a_rise_by_five_points_over_fifty_requests_is_too_much() {
        for (before, since, is_tripped) in [
            (share(0, 0), share(50, 3), true),
            (share(0, 0), share(49, 49), false),
            (share(0, 0), share(100, 5), true),
            (share(0, 0), share(100, 4), false),
            (share(1000, 10), share(100, 6), true),
            (share(1000, 10), share(100, 5), false),
            (share(1000, 1000), share(500, 500), false),
            (share(1000, 500), share(500, 100), false),
            (share(3, 1), share(300, 115), true),
            (share(3, 1), share(300, 114), false),
            (share(u64::MAX, 0), share(u64::MAX, u64::MAX), true),
        ] {
            assert_eq!(verdict(before, since).is_some(), is_tripped, "{before} then {since}");
        }
    }

    #[test]
    fn the_reason_has_the_figures() {
        let words = verdict(share(1000, 10), share(60, 13)).unwrap();
        assert_eq!(
            words,
            "guard: 5xx on 13 of 60 (21.6 %) requests since the apply, 10 of 1000 (1.0 %) before; a rise by 5 points is \
             too much"
        );
    }

    #[test]
    fn a_route_with_another_backend_is_counted_from_nothing() {
        let touched = [RouteId(1), RouteId(2), RouteId(3)].into();
        let seen = [(RouteId(1), share(100, 1)), (RouteId(2), share(10, 2)), (RouteId(9), share(5, 5))].into();
        let guard = guard(&touched, &seen, |id| id == RouteId(2));
        assert_eq!(guard.before, share(110, 3));
        let starts = [(RouteId(1), share(100, 1)), (RouteId(2), share(0, 0)), (RouteId(3), share(0, 0))];
        assert_eq!(&*guard.routes, &starts);
    }
}
