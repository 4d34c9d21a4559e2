//! The queue of reports from the proxy's workers and the health checks to the registry.
//!
//! Reports are rare: a breaker changes its state, a backend becomes healthy or unhealthy, or an apply ends such a state.
//! Invariants: a sender never waits for the reader; waiting reports take bounded memory; the log names the number of lost reports.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::{BreakerState, Event};
use crate::traffic::{Endpoint, EndpointBreaker, RoutingTable};

/// A change of an endpoint that its session is notified of.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The endpoint. The report is current while the route has the same backend and breaker.
    pub endpoint: Arc<Endpoint>,
    /// The event for the session.
    pub event: Event,
    /// True if an apply ended a state that was reported before. Such a report stays current when another apply follows, because
    /// the session must learn of the end.
    pub is_end: bool,
}

impl Report {
    /// Returns a report of something that was observed at an endpoint of the table.
    pub fn seen(endpoint: &Arc<Endpoint>, event: Event) -> Self {
        Self { endpoint: Arc::clone(endpoint), event, is_end: false }
    }

    /// Returns a report that an apply has ended a state; `endpoint` is the new one.
    fn end(endpoint: &Arc<Endpoint>, event: Event) -> Self {
        Self { is_end: true, ..Self::seen(endpoint, event) }
    }

    /// True if the route still has the backend or breaker that the report is about, or if the end that it reports still holds.
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

/// The queue of reports. Cheap to clone; all clones share one queue.
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
    /// The number of reports that were dropped since the last entry in the log about it.
    lost: u64,
}

/// The most reports that wait. A further one replaces the oldest.
const WAITING_MAX: usize = 4096;
/// The most reports that are taken at once, because the reader shares its thread with other tasks.
const TAKEN_MAX: usize = 256;

impl Reports {
    /// Adds a report. If too many wait, the oldest is dropped.
    pub fn push(&self, report: Report) {
        let mut waiting = self.waiting();
        if waiting.reports.len() >= WAITING_MAX {
            waiting.reports.pop_front();
            waiting.lost += 1;
        }
        waiting.reports.push_back(report);
        drop(waiting);
        self.0.filled.notify_one();
    }

    /// Adds a report for each state that an apply has ended: a breaker that was not closed and that the route has no more, or an
    /// unhealthy backend that was replaced.
    pub fn push_ended(&self, old: &RoutingTable, new: &RoutingTable) {
        for (old, new) in new.changed_since(old) {
            let route = new.id();
            let is_removed =
                |breaker: &&Arc<EndpointBreaker>| new.breaker().is_none_or(|kept| !Arc::ptr_eq(kept, breaker));
            let breaker = old.breaker().filter(is_removed).map(|breaker| breaker.status().state);
            if breaker.is_some_and(|state| state != BreakerState::Closed) {
                let event = Event::CircuitStateChanged { route, state: BreakerState::Closed };
                self.push(Report::end(new, event));
            }
            if !old.live.health.is_healthy() && !Arc::ptr_eq(&old.live, &new.live) {
                let reason = "the route has another backend".to_owned();
                let event = Event::BackendHealthChanged { route, healthy: true, reason };
                self.push(Report::end(new, event));
            }
        }
    }

    /// Waits for reports and returns the oldest, at least one. It must have only one caller at a time.
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
        // No code panics while it holds the lock.
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

    /// Returns the catalog and table after one more change.
    fn after(state: &(Catalog, RoutingTable), change: &Change) -> (Catalog, RoutingTable) {
        let (mut catalog, mut table) = state.clone();
        catalog.absorb(change);
        table.absorb(&catalog, change, &RouteDefaults::default());
        (catalog, table)
    }

    fn route(backend: &str) -> Change {
        let route = Route {
            id: RouteId(1),
            name: None,
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

    /// Returns a catalog and table of a session with one route and a breaker.
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
    fn an_end_is_current_after_other_applies_while_it_is_true() {
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
        reports.push_ended(&open.1, &away.1);
        let (ended, _) = reports.take();
        let closed = Event::CircuitStateChanged { route: RouteId(1), state: BreakerState::Closed };
        assert_eq!(ended.iter().map(|report| &report.event).collect::<Vec<_>>(), [&closed]);
        let back = after(&away, &route("http://a"));
        let current = |table: &RoutingTable| ended.iter().all(|report| report.is_current(table));
        assert_eq!([&away, &back].map(|state| current(&state.1)), [true, true]);
        assert!(fail(&back.1).is_some());
        assert!(!current(&back.1), "it is open again");
    }

    #[tokio::test]
    async fn reports_are_taken_in_order_and_the_oldest_are_dropped() {
        let reports = Reports::default();
        let (all, some) = (WAITING_MAX as u64 + 3, report(0));
        let event = |number| Event::ConfigApplied { revision: number };
        (0..all).for_each(|number| reports.clone().push(Report { event: event(number), ..some.clone() }));
        let (first, lost) = reports.take();
        assert_eq!((first.len(), lost), (TAKEN_MAX, 3));
        let mut read = first;
        while read.len() < WAITING_MAX {
            read.extend(reports.next().await);
        }
        assert!(read.into_iter().map(|report| report.event).eq((3..all).map(event)));
        assert_eq!(reports.take(), (Vec::new(), 0), "lost reports are counted once");
    }

    #[tokio::test]
    async fn a_waiting_reader_gets_a_report() {
        let reports = Reports::default();
        let sent = report(7);
        let (read, ()) = tokio::join!(reports.next(), async { reports.push(sent.clone()) });
        assert_eq!(read, [sent]);
    }
}
