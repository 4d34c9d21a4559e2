//! What traffic saw and a session may want to hear of: on its way from the workers to the registry.
//!
//! Rare: breakers that flip, backends that turn healthy or unhealthy, and applies that put an end to either. What must hold:
//! nobody who reports ever waits for who reads; what is not read costs bounded memory, and what was lost of it is said in the log.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::{BreakerState, Event};
use crate::traffic::{Endpoint, EndpointBreaker, RoutingTable};

/// Something that was seen of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The endpoint: only while its route has the same backend and breaker is it worth telling.
    pub endpoint: Arc<Endpoint>,
    /// What was seen.
    pub event: Event,
    /// An apply put an end to what was told before. This is told although another apply follows, for the session must hear of it.
    pub is_end: bool,
}

impl Report {
    /// Something that was seen of an endpoint while it was the route's.
    pub fn seen(endpoint: &Arc<Endpoint>, event: Event) -> Self {
        Self { endpoint: Arc::clone(endpoint), event, is_end: false }
    }

    fn end(endpoint: &Arc<Endpoint>, event: Event) -> Self {
        Self { is_end: true, ..Self::seen(endpoint, event) }
    }

    /// True if what was seen, the backend or the breaker, is still the route's.
    pub fn is_current(&self, table: &RoutingTable) -> bool {
        let Some(now) = table.endpoint(self.endpoint.session, self.endpoint.id()) else { return false };
        match &self.event {
            Event::CircuitStateChanged { .. } if self.is_end => {
                now.breaker().is_none_or(|breaker| breaker.status().state == BreakerState::Closed)
            }
            _ if self.is_end => now.live.health.is_healthy(),
            Event::CircuitStateChanged { .. } => match (now.breaker(), self.endpoint.breaker()) {
                (Some(now), Some(seen)) => Arc::ptr_eq(now, seen),
                (now, seen) => now.is_none() && seen.is_none(),
            },
            _ => Arc::ptr_eq(&now.live, &self.endpoint.live),
        }
    }
}

/// Where reports wait. Cheap to clone; all clones share one queue.
#[derive(Clone, Debug, Default)]
pub struct Reports(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<WaitingReports>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct WaitingReports {
    reports: VecDeque<Report>,
    /// Reports that were dropped since that was last told.
    lost: u64,
}

/// So many wait at most.
const WAITING_MAX: usize = 4096;
/// So many are taken at once: who takes them has a thread to share.
const TAKEN_MAX: usize = 256;

impl Reports {
    /// Adds a report; when too many wait, the oldest goes.
    pub fn tell(&self, report: Report) {
        let mut waiting = self.waiting();
        if waiting.reports.len() >= WAITING_MAX {
            waiting.reports.pop_front();
            waiting.lost += 1;
        }
        waiting.reports.push_back(report);
        drop(waiting);
        self.0.filled.notify_one();
    }

    /// Tells what an apply put an end to: that the breaker is open, or the backend unhealthy, which a route has no more.
    pub fn tell_ended(&self, old: &RoutingTable, new: &RoutingTable) {
        for (old, new) in new.changed_since(old) {
            let route = new.id();
            let goes = |breaker: &&Arc<EndpointBreaker>| new.breaker().is_none_or(|kept| !Arc::ptr_eq(kept, breaker));
            let breaker = old.breaker().filter(goes).map(|breaker| breaker.status().state);
            if breaker.is_some_and(|state| state != BreakerState::Closed) {
                let event = Event::CircuitStateChanged { route, state: BreakerState::Closed };
                self.tell(Report::end(new, event));
            }
            if !old.live.health.is_healthy() && !Arc::ptr_eq(&old.live, &new.live) {
                let reason = "the route has another backend".to_owned();
                let event = Event::BackendHealthChanged { route, healthy: true, reason };
                self.tell(Report::end(new, event));
            }
        }
    }

    /// Waits for reports and takes the oldest, at least one. For one reader.
    pub async fn next(&self) -> Vec<Report> {
        loop {
            let (taken, lost) = self.take();
            if lost > 0 {
                tracing::warn!(lost, "events of traffic were lost: too many waited to be told");
            }
            if !taken.is_empty() {
                return taken;
            }
            self.0.filled.notified().await;
        }
    }

    fn take(&self) -> (Vec<Report>, u64) {
        let mut waiting = self.waiting();
        let count = waiting.reports.len().min(TAKEN_MAX);
        let taken = waiting.reports.drain(..count).collect();
        (taken, std::mem::take(&mut waiting.lost))
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingReports> {
        // No code panics while it holds the lock; were it to happen, the queue is still whole.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        self, BackendUrl, Catalog, Change, Edit, HeaderKey, Host, InstanceName, PathPrefix, Route, RouteId, Sections,
        ServiceName, SessionKey, SessionRecord, Span, Target, Time,
    };
    use crate::traffic::RouteDefaults;

    fn apply(edit: Edit) -> Change {
        Change::Apply { key: SessionKey(1), sections: Sections::ALL, edits: Arc::new([edit]) }
    }

    /// The catalog and table after one more change.
    fn after(state: &(Catalog, RoutingTable), change: &Change) -> (Catalog, RoutingTable) {
        let (mut catalog, mut table) = state.clone();
        catalog.absorb(change);
        table.absorb(&catalog, change, &RouteDefaults::default());
        (catalog, table)
    }

    fn route(backend: &str) -> Change {
        let route = Route {
            id: RouteId(1),
            domains: vec![Host::Any],
            path: PathPrefix::root(),
            backend: BackendUrl::parse(backend).unwrap(),
            priority: 0,
        };
        apply(Edit::Route(RouteId(1), Some(Arc::new(route))))
    }

    fn breaker(threshold: u32) -> Change {
        let timeout = Span::from_secs(1);
        apply(Edit::Breaker(Target::All, Some(domain::Breaker { threshold, timeout, half_open_requests: 1 })))
    }

    /// A session with one route and a breaker.
    fn serving() -> (Catalog, RoutingTable) {
        let (service, instance) = (ServiceName::parse("shop").unwrap(), InstanceName::parse("shop-1").unwrap());
        let head = Change::Record(SessionKey(1), Arc::new(SessionRecord::opened(service, instance, 0, Time(0))));
        [head, route("http://a"), breaker(1)].iter().fold(<_>::default(), |state, change| after(&state, change))
    }

    fn endpoint(table: &RoutingTable) -> Arc<Endpoint> {
        Arc::clone(table.endpoint(SessionKey(1), RouteId(1)).unwrap())
    }

    fn report(number: u64) -> Report {
        let event = Event::ConfigApplied { revision: number };
        Report::seen(&endpoint(&serving().1), event)
    }

    #[test]
    fn a_report_is_current_while_its_route_has_the_backend_and_breaker_that_were_seen() {
        let old = serving();
        let (endpoint, route_id) = (endpoint(&old.1), RouteId(1));
        let health = Event::BackendHealthChanged { route: route_id, healthy: false, reason: "status 503".into() };
        let circuit = Event::CircuitStateChanged { route: route_id, state: BreakerState::Open };
        let current = |table: &RoutingTable| {
            [&health, &circuit].map(|event| Report::seen(&endpoint, event.clone()).is_current(table))
        };
        let header = Edit::Header(Target::All, HeaderKey::parse("x-a").unwrap(), Some("b".into()));
        assert_eq!(current(&after(&old, &apply(header)).1), [true, true], "anything else may change");
        assert_eq!(current(&after(&old, &breaker(2)).1), [true, false]);
        let elsewhere = after(&old, &route("http://b"));
        assert_eq!(current(&elsewhere.1), [false, false]);
        assert_eq!(current(&after(&elsewhere, &route("http://a")).1), [false, false], "it is another by now");
        assert_eq!(current(&after(&old, &apply(Edit::Route(route_id, None))).1), [false, false]);
        assert_eq!(current(&after(&old, &Change::End(SessionKey(1))).1), [false, false]);
    }

    #[test]
    fn an_end_is_told_whatever_applies_follow_while_it_is_true() {
        let open = serving();
        let permit = |table: &RoutingTable| match endpoint(table).breaker().unwrap().acquire(Time(1)) {
            crate::traffic::BreakerDecision::Pass(permit) => permit,
            other => panic!("{other:?}"),
        };
        let fail = |table: &RoutingTable| {
            endpoint(table).breaker().unwrap().record(permit(table), crate::traffic::BreakerOutcome::Failure, Time(1))
        };
        assert!(fail(&open.1).is_some());
        let (away, reports) = (after(&open, &route("http://b")), Reports::default());
        reports.tell_ended(&open.1, &away.1);
        let (told, _) = reports.take();
        let closed = Event::CircuitStateChanged { route: RouteId(1), state: BreakerState::Closed };
        assert_eq!(told.iter().map(|report| &report.event).collect::<Vec<_>>(), [&closed]);
        let back = after(&away, &route("http://a"));
        let current = |table: &RoutingTable| told.iter().all(|report| report.is_current(table));
        assert_eq!([&away, &back].map(|state| current(&state.1)), [true, true]);
        assert!(fail(&back.1).is_some());
        assert!(!current(&back.1), "it is open again");
    }

    #[tokio::test]
    async fn reports_come_in_order_and_the_oldest_make_way() {
        let reports = Reports::default();
        let (all, some) = (WAITING_MAX as u64 + 3, report(0));
        let event = |number| Event::ConfigApplied { revision: number };
        (0..all).for_each(|number| reports.clone().tell(Report { event: event(number), ..some.clone() }));
        let (first, lost) = reports.take();
        assert_eq!((first.len(), lost), (TAKEN_MAX, 3));
        let mut read = first;
        while read.len() < WAITING_MAX {
            read.extend(reports.next().await);
        }
        assert!(read.into_iter().map(|report| report.event).eq((3..all).map(event)));
        assert_eq!(reports.take(), (Vec::new(), 0), "what was lost is told once");
    }

    #[tokio::test]
    async fn who_waits_for_a_report_gets_it() {
        let reports = Reports::default();
        let told = report(7);
        let (read, ()) = tokio::join!(reports.next(), async { reports.tell(told.clone()) });
        assert_eq!(read, [told]);
    }
}
