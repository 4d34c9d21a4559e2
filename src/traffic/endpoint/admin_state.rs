//! What is is_set of a session's traffic as a whole: drain and maintenance.
//!
//! All endpoints of the session share it, so that a drain begins as quickly for 100,000 routes as for one. Mostly nothing is
//! is_set, and to see that is one atomic read. What must hold: it follows the session's record, and an order is seen whole.

use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use crate::domain::{Drain, Maintenance, PageUrl, RouteId, SessionRecord};

/// Shared by all workers and all endpoints of one session.
#[derive(Debug, Default)]
pub struct AdminState {
    is_set: AtomicBool,
    orders: ArcSwap<AdminOrders>,
}

#[derive(Debug, Default)]
struct AdminOrders {
    drain: Option<Drain>,
    maintenance: Maintenance,
}

impl AdminState {
    /// Takes over what the session's record says now. Cheap when nothing of it has changed.
    pub(crate) fn update(&self, record: &SessionRecord) {
        if self.orders.load().are_those_of(record) {
            return;
        }
        let orders = AdminOrders { drain: record.drain, maintenance: record.maintenance.clone() };
        let is_set = orders.drain.is_some() || orders.maintenance.first().is_some();
        self.orders.store(orders.into());
        self.is_set.store(is_set, Ordering::Release);
    }

    /// True if there is a drain, or any route is in maintenance.
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// The session's drain, running or complete.
    pub fn drain(&self) -> Option<Drain> {
        if self.is_set() { self.orders.load().drain } else { None }
    }

    /// True if the route is in maintenance.
    pub fn in_maintenance(&self, route: RouteId) -> bool {
        self.is_set() && self.orders.load().maintenance.of(route).is_some()
    }

    /// The page to be shown while the route is in maintenance, if one was given.
    pub fn maintenance_page(&self, route: RouteId) -> Option<PageUrl> {
        self.orders.load().maintenance.of(route).and_then(|entry| entry.page.clone())
    }
}

impl AdminOrders {
    fn are_those_of(&self, record: &SessionRecord) -> bool {
        let (mine, told) = (&self.maintenance, &record.maintenance);
        // The map may be large and is not walked through: a record that changes in something else has the same one in it.
        self.drain == record.drain && mine.all == told.all && mine.routes.ptr_eq(&told.routes)
    }
}
