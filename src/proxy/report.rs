//! What traffic saw and a session may want to hear of: on its way from the workers to the registry.
//!
//! Rare: breakers that flip, backends that turn healthy or unhealthy, and applies that put an end to either. What must hold:
//! nobody who reports ever waits for who reads; what is not read costs bounded memory, and what was lost of it is said in the log.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::domain::{BreakerState, Event, RouteId, SessionKey};
use crate::traffic::{Breaker, Table};

/// Something that was seen of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The route's session.
    pub session: SessionKey,
    /// The route.
    pub route: RouteId,
    /// What was seen.
    pub event: Event,
}

/// Where reports wait. Cheap to clone; all clones share one queue.
#[derive(Clone, Debug, Default)]
pub struct Reports(Arc<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<VecDeque<Report>>,
    filled: Notify,
}

/// So many wait at most.
const WAITING_MAX: usize = 4096;

impl Reports {
    /// Adds a report; when too many wait, the oldest goes.
    pub fn tell(&self, report: Report) {
        let mut waiting = self.waiting();
        if waiting.len() >= WAITING_MAX
            && let Some(lost) = waiting.pop_front()
        {
            tracing::warn!(route = %lost.route, event = lost.event.kind().name(), "too many events wait; one is lost");
        }
        waiting.push_back(report);
        drop(waiting);
        self.0.filled.notify_one();
    }

    /// Tells what an apply put an end to: that the breaker is open, or the backend unhealthy, which a route has no more.
    pub fn tell_ended(&self, old: &Table, new: &Table) {
        for (old, new) in new.changed_since(old) {
            let (session, route) = (new.session, new.id());
            let goes = |breaker: &&Arc<Breaker>| new.breaker().is_none_or(|kept| !Arc::ptr_eq(kept, breaker));
            let breaker = old.breaker().filter(goes).map(|breaker| breaker.status().state);
            if breaker.is_some_and(|state| state != BreakerState::Closed) {
                let event = Event::CircuitStateChanged { route, state: BreakerState::Closed };
                self.tell(Report { session, route, event });
            }
            if !old.live.health.healthy() && !Arc::ptr_eq(&old.live, &new.live) {
                let reason = "the route has another backend".to_owned();
                self.tell(Report {
                    session,
                    route,
                    event: Event::BackendHealthChanged { route, healthy: true, reason },
                });
            }
        }
    }

    /// Waits for reports and takes all there are, oldest first, at least one. For one reader.
    pub async fn next(&self) -> Vec<Report> {
        loop {
            let waiting = std::mem::take(&mut *self.waiting());
            if !waiting.is_empty() {
                return waiting.into();
            }
            self.0.filled.notified().await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Report>> {
        // No code panics while it holds the lock; were it to happen, the queue is still whole.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(route: u32) -> Report {
        Report { session: SessionKey(1), route: RouteId(route), event: Event::DrainCompleted }
    }

    #[tokio::test]
    async fn reports_come_in_order_and_the_oldest_make_way() {
        let reports = Reports::default();
        let all = u32::try_from(WAITING_MAX).unwrap() + 3;
        (0..all).for_each(|route| reports.clone().tell(report(route)));
        let read: Vec<u32> = reports.next().await.into_iter().map(|report| report.route.0).collect();
        assert_eq!(read, (3..all).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn who_waits_for_a_report_gets_it() {
        let reports = Reports::default();
        let (read, ()) = tokio::join!(reports.next(), async { reports.tell(report(7)) });
        assert_eq!(read, [report(7)]);
    }
}
