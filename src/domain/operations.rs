//! Drain and maintenance: states of a session that traffic obeys until they are taken back.

use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use super::{PageUrl, RouteId, Span, Target, Time};

/// A session's share of traffic falling from 100 % to 0 % in a straight line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// When it began.
    pub started: Time,
    /// The time that it takes.
    pub span: Span,
    /// An operator ordered it: it is for the instance, also when that registers anew.
    pub by_operator: bool,
}

impl Drain {
    /// When nothing new comes any more.
    pub fn ends(self) -> Time {
        self.started.after(self.span)
    }

    /// What is left of it at `now`.
    pub fn remaining(self, now: Time) -> Span {
        self.ends().since(now).min(self.span)
    }

    /// The share at `now` in whole percent, rounded up: 100 … 0, and 0 only once it is complete.
    pub fn traffic_percent(self, now: Time) -> u64 {
        (self.remaining(now).millis() * 100).div_ceil(self.span.millis().max(1))
    }
}

/// Why and since when a route is in maintenance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaintenanceEntry {
    /// The page shown meanwhile; without one, the built-in page.
    pub page: Option<PageUrl>,
    /// Since when.
    pub entered: Time,
    /// An operator ordered it: it is for the instance, also when that registers anew.
    pub by_operator: bool,
}

/// Which routes of a session are in maintenance.
///
/// A route's own word goes before that for all, so that one route can leave while the rest stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Maintenance {
    /// For every route, also those applied later, that has no word of its own.
    pub all: Option<MaintenanceEntry>,
    /// For single routes; `None` is a route that left while `all` stayed.
    pub routes: OrdMap<RouteId, Option<MaintenanceEntry>>,
}

impl Maintenance {
    /// What holds for a route.
    pub fn of(&self, id: RouteId) -> Option<&MaintenanceEntry> {
        match self.routes.get(&id) {
            Some(own) => own.as_ref(),
            None => self.all.as_ref(),
        }
    }

    /// The session-wide entry, or else that of the route with the lowest id.
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

    /// The orders of operators for all routes, for the next session of the instance: its routes have other ids.
    #[must_use]
    pub fn ordered_for_all(&self) -> Self {
        Self { all: self.all.clone().filter(|entry| entry.by_operator), routes: OrdMap::new() }
    }

    /// True if an operator has ordered it for `target`.
    pub fn is_ordered(&self, target: Target) -> bool {
        let entry = match target {
            Target::All => self.all.as_ref(),
            Target::Route(id) => self.of(id),
        };
        entry.is_some_and(|entry| entry.by_operator)
    }

    /// Lets a route be treated as `old` was in `before`, as far as operators have ordered that.
    pub fn follow(&mut self, id: RouteId, before: &Self, old: RouteId) {
        let own = before.routes.get(&old).and_then(Option::as_ref).filter(|entry| entry.by_operator);
        match own {
            Some(entry) => self.enter(Target::Route(id), entry.clone()),
            // It was let out while the others stay.
            None if self.all.is_some() && before.of(old).is_none() => self.exit(Target::Route(id)),
            None => {}
        }
    }

    /// The routes whose own word is not what it was in `old`: their number, and the word unless there is none any more. Costs what
    /// differs, where one was made of the other.
    pub fn changed_since<'a>(
        &'a self,
        old: &'a Self,
    ) -> impl Iterator<Item = (RouteId, Option<&'a Option<MaintenanceEntry>>)> {
        old.routes.diff(&self.routes).map(|change| match change {
            DiffItem::Add(id, entry) | DiffItem::Update { new: (id, entry), .. } => (*id, Some(entry)),
            DiffItem::Remove(id, _) => (*id, None),
        })
    }

    /// Forgets a route that is gone.
    pub fn forget(&mut self, id: RouteId) {
        self.routes.remove(&id);
    }

    /// Forgets every route that is not `there` any more.
    pub fn retain(&mut self, there: impl Fn(RouteId) -> bool) {
        let gone: Vec<RouteId> = self.routes.keys().copied().filter(|id| !there(*id)).collect();
        gone.into_iter().for_each(|id| self.forget(id));
    }
}

/// Names a maintenance request that waits for its outcome. Never reused while it waits or the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// Which way a pending maintenance request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PendingKind {
    /// Into maintenance: in force already, waiting for its page.
    Enter,
    /// Out of it: in force only once the backends answer.
    Exit,
}

/// A maintenance request that was accepted and whose outcome is still to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// Its name.
    pub ticket: Ticket,
    /// Its direction.
    pub kind: PendingKind,
    /// What it is for.
    pub targets: Arc<[Target]>,
    /// The page that must answer; to leave maintenance, it is the backends that must.
    pub page: Option<PageUrl>,
}

impl Pending {
    /// True if it and a request for `targets` have a route in common.
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
