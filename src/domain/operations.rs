//! Drain and maintenance: states of a session that traffic obeys until they are cancelled.

use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::{PageUrl, RouteId, Span, Target, Time};

/// A drain: a session's share of traffic falls from 100 % to 0 % in a straight line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// The time at which the drain began.
    pub started: Time,
    /// The length of the drain.
    pub span: Span,
    /// True if an operator ordered it. Then it stays with the instance when the instance registers anew.
    pub by_operator: bool,
}

impl Drain {
    /// Returns the time at which the drain is complete.
    pub fn ends(self) -> Time {
        self.started.after(self.span)
    }

    /// Returns the rest of the drain at `now`.
    pub fn remaining(self, now: Time) -> Span {
        self.ends().since(now).min(self.span)
    }

    /// Returns the share of traffic at `now` in whole percent, rounded up. It is 0 only once the drain is complete.
    pub fn traffic_percent(self, now: Time) -> u64 {
        (self.remaining(now).millis() * 100).div_ceil(self.span.millis().max(1))
    }
}

/// A maintenance of one route or of all routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintenanceEntry {
    /// The page that the proxy shows; `None` for the built-in page.
    pub page: Option<PageUrl>,
    /// The time at which the maintenance began.
    pub entered: Time,
    /// True if an operator ordered it. Then it stays with the instance when the instance registers anew.
    pub by_operator: bool,
}

/// The maintenance of a session's routes.
///
/// A route's own entry overrides the entry for all, so that one route can leave while the rest stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Maintenance {
    /// The entry for every route without an entry of its own, also for later ones.
    pub all: Option<MaintenanceEntry>,
    /// The entries of single routes; `None` is a route that left while `all` stayed.
    pub routes: OrdMap<RouteId, Option<MaintenanceEntry>>,
}

impl Maintenance {
    /// Returns the entry that is in force for a route.
    pub fn of(&self, id: RouteId) -> Option<&MaintenanceEntry> {
        match self.routes.get(&id) {
            Some(own) => own.as_ref(),
            None => self.all.as_ref(),
        }
    }

    /// Returns the entry for all routes, or else that of the route with the lowest id.
    pub fn first(&self) -> Option<&MaintenanceEntry> {
        self.all.as_ref().or_else(|| self.routes.values().flatten().next())
    }

    /// Puts `target` into maintenance.
    pub fn enter(&mut self, target: Target, entry: MaintenanceEntry) {
        match target {
            Target::All => {
                self.all = Some(entry);
                self.routes.clear();
            }
            Target::Route(id) => {
                self.routes.insert(id, Some(entry));
            }
        }
    }

    /// Takes `target` out of maintenance.
    pub fn exit(&mut self, target: Target) {
        match target {
            Target::All => *self = Self::default(),
            Target::Route(id) if self.all.is_some() => {
                self.routes.insert(id, None);
            }
            Target::Route(id) => {
                self.routes.remove(&id);
            }
        }
    }

    /// Returns the orders of operators for all routes, which the next session of the instance takes over. Orders for
    /// single routes are left out because route ids change.
    #[must_use]
    pub fn ordered_for_all(&self) -> Self {
        Self { all: self.all.clone().filter(|entry| entry.by_operator), routes: OrdMap::new() }
    }

    /// Returns true if an operator has ordered maintenance for `target`.
    pub fn is_ordered(&self, target: Target) -> bool {
        let entry = match target {
            Target::All => self.all.as_ref(),
            Target::Route(id) => self.of(id),
        };
        entry.is_some_and(|entry| entry.by_operator)
    }

    /// Gives route `id` the state that operators had ordered for route `old` in `before`.
    pub fn take_over_orders(&mut self, id: RouteId, before: &Self, old: RouteId) {
        let own = before.routes.get(&old).and_then(Option::as_ref).filter(|entry| entry.by_operator);
        match own {
            Some(entry) => self.enter(Target::Route(id), entry.clone()),
            // The old route had left maintenance while the others stayed.
            None if self.all.is_some() && before.of(old).is_none() => self.exit(Target::Route(id)),
            None => {}
        }
    }

    /// Returns the routes whose own entry differs from that in `old`, with the new entry or `None` if it is gone.
    /// Takes time in proportion to the difference.
    pub fn changed_since<'a>(
        &'a self,
        old: &'a Self,
    ) -> impl Iterator<Item = (RouteId, Option<&'a Option<MaintenanceEntry>>)> {
        old.routes.diff(&self.routes).map(|change| match change {
            DiffItem::Add(id, entry) | DiffItem::Update { new: (id, entry), .. } => (*id, Some(entry)),
            DiffItem::Remove(id, _) => (*id, None),
        })
    }

    /// Removes the entry of a route that is gone.
    pub fn forget(&mut self, id: RouteId) {
        self.routes.remove(&id);
    }

    /// Removes the entries of all routes for which `there` is false.
    pub fn retain(&mut self, there: impl Fn(RouteId) -> bool) {
        let gone: Vec<RouteId> = self.routes.keys().copied().filter(|id| !there(*id)).collect();
        gone.into_iter().for_each(|id| self.forget(id));
    }
}

/// The id of a maintenance request that waits for its outcome. Not reused while it waits or the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// The direction of a waiting maintenance request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingKind {
    /// Into maintenance: in force at once, waits for the page.
    Enter,
    /// Out of maintenance: in force only once the backends answer.
    Exit,
}

/// A maintenance request that was accepted and waits for its outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// The id of the request.
    pub ticket: Ticket,
    /// The direction of the request.
    pub kind: PendingKind,
    /// The targets of the request.
    pub targets: Arc<[Target]>,
    /// The page that must answer. A request to leave maintenance has none: the backends must answer.
    pub page: Option<PageUrl>,
}

impl Pending {
    /// Returns true if this request and one for `targets` have a route in common.
    pub fn overlaps(&self, targets: &[Target]) -> bool {
        let all = |list: &[Target]| list.contains(&Target::All);
        all(&self.targets) || all(targets) || self.targets.iter().any(|target| targets.contains(target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_falls_in_a_straight_line_and_stays_at_nothing() {
        let drain = Drain { started: Time(1_000), span: Span::from_secs(10), by_operator: false };
        let percent = |at| drain.traffic_percent(Time(at));
        assert_eq!((percent(0), percent(1_000)), (100, 100));
        assert_eq!((percent(3_500), percent(10_999)), (75, 1));
        assert_eq!((percent(11_000), percent(u64::MAX)), (0, 0));
    }

    #[test]
    fn one_route_can_leave_maintenance_while_the_rest_stays() {
        let entry = MaintenanceEntry { page: None, entered: Time(1), by_operator: false };
        let mut maintenance = Maintenance::default();
        maintenance.enter(Target::All, entry.clone());
        maintenance.exit(Target::Route(RouteId(1)));
        assert_eq!(maintenance.of(RouteId(1)), None);
        assert_eq!(maintenance.of(RouteId(2)), Some(&entry));
        maintenance.enter(Target::Route(RouteId(1)), entry.clone());
        assert_eq!(maintenance.of(RouteId(1)), Some(&entry));
        maintenance.exit(Target::All);
        assert_eq!(maintenance, Maintenance::default());
    }
}
