//! The state that administrators give to the traffic of a session: drain and maintenance.
//!
//! All endpoints of a session share it, so a drain begins as quickly for 100,000 routes as for one. Usually neither is set,
//! and one atomic read shows that. Invariants: it follows the session's record, and a reader sees each state as a whole.

use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use crate::domain::{Drain, Maintenance, PageUrl, RouteId, SessionRecord};

/// The drain and the maintenance of one session, shared by all workers and all endpoints of the session.
#[derive(Debug, Default)]
pub struct AdminState {
    is_set: AtomicBool,
    current: ArcSwap<AdminSnapshot>,
}

#[derive(Debug, Default)]
struct AdminSnapshot {
    drain: Option<Drain>,
    maintenance: Maintenance,
}

impl AdminState {
    /// Takes over drain and maintenance from the session's record. Cheap when neither has changed.
    pub(crate) fn update(&self, record: &SessionRecord) {
        if self.current.load().agrees_with(record) {
            return;
        }
        let current = AdminSnapshot { drain: record.drain, maintenance: record.maintenance.clone() };
        let is_set = current.drain.is_some() || current.maintenance.first().is_some();
        self.current.store(current.into());
        self.is_set.store(is_set, Ordering::Release);
    }

    /// Returns true if there is a drain, or if any route is in maintenance.
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Returns the session's drain, running or complete.
    pub fn drain(&self) -> Option<Drain> {
        if self.is_set() { self.current.load().drain } else { None }
    }

    /// Returns true if the route is in maintenance.
    pub fn in_maintenance(&self, route: RouteId) -> bool {
        self.is_set() && self.current.load().maintenance.of(route).is_some()
    }

    /// Returns the page to show while the route is in maintenance, if one is set.
    pub fn maintenance_page(&self, route: RouteId) -> Option<PageUrl> {
        self.current.load().maintenance.of(route).and_then(|entry| entry.page.clone())
    }
}

impl AdminSnapshot {
    fn agrees_with(&self, record: &SessionRecord) -> bool {
        let (mine, theirs) = (&self.maintenance, &record.maintenance);
        // Comparing addresses avoids a walk through a large map: a record that changes elsewhere keeps the same map.
        self.drain == record.drain && mine.all == theirs.all && mine.routes.ptr_eq(&theirs.routes)
    }
}
