//! Publishing changes of the catalog to traffic.

use std::collections::HashSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use crate::domain::{Catalog, Change};
use crate::registry::Publish;
use crate::reports::Reports;
use crate::traffic::{RouteDefaults, RoutingTable};

/// Publishes changes to traffic: the routing table absorbs them and is replaced as a whole.
pub(super) struct TablePublisher {
    table: RoutingTable,
    /// The catalog that the table agrees with.
    catalog: Arc<Catalog>,
    published: Arc<ArcSwap<RoutingTable>>,
    /// Wakes those who follow the table: each has one.
    changed: Vec<Arc<Notify>>,
    reports: Reports,
    defaults: Arc<ArcSwap<RouteDefaults>>,
    /// The number of publications, for the checks of a large table.
    publications: u64,
}

/// The number of publications after which a large table is checked as a whole, in debug and test builds.
const PUBLICATIONS_PER_SWEEP: u64 = 512;

impl TablePublisher {
    /// Creates a publisher to `published` that wakes the holders of `changed` after each change.
    pub(super) fn new(
        published: &Arc<ArcSwap<RoutingTable>>,
        changed: &[&Arc<Notify>],
        reports: &Reports,
        defaults: &Arc<ArcSwap<RouteDefaults>>,
    ) -> Self {
        Self {
            table: RoutingTable::default(),
            catalog: Arc::default(),
            published: Arc::clone(published),
            changed: changed.iter().copied().cloned().collect(),
            reports: reports.clone(),
            defaults: Arc::clone(defaults),
            publications: 0,
        }
    }

    /// Compares the table with the catalog: what `changes` concern, and now and then the whole table.
    fn disagreement(&self, catalog: &Catalog, changes: &[Change]) -> Option<String> {
        let is_whole = self.publications.is_multiple_of(PUBLICATIONS_PER_SWEEP);
        let whole = || if is_whole { self.table.whole_disagreement(catalog) } else { None };
        self.table.disagreement(catalog, changes).or_else(whole)
    }
}

impl TablePublisher {
    fn show(&self, before: &RoutingTable) {
        self.published.store(Arc::new(self.table.clone()));
        self.reports.push_ended(before, &self.table);
        self.changed.iter().for_each(|follower| follower.notify_one());
    }
}

impl Publish for TablePublisher {
    fn publish(&mut self, catalog: &Arc<Catalog>, changes: &[Change]) {
        let shown = std::mem::replace(&mut self.catalog, Arc::clone(catalog));
        if !changes.iter().any(Change::concerns_traffic) {
            // Staging is most of the work of a busy registry and wakes nobody.
            return;
        }
        let (before, defaults) = (self.table.clone(), self.defaults.load_full());
        let mut step = applies_twice(changes).then(|| Catalog::clone(&shown));
        for change in changes {
            if let Some(step) = &mut step {
                step.absorb(change);
            }
            self.table.absorb(step.as_ref().unwrap_or(catalog), change, &defaults);
        }
        self.table.set_revision(catalog.revision());
        self.publications += 1;
        debug_assert_eq!(self.disagreement(catalog, changes), None);
        self.show(&before);
    }

    fn publish_anew(&mut self, catalog: &Arc<Catalog>) {
        let before = self.table.clone();
        self.table.rebase(catalog, &self.defaults.load());
        self.show(&before);
    }
}

/// Returns true if one session applies more than once. Then each apply is published as it was, because an endpoint or
/// breaker that is removed and added again is a new one.
fn applies_twice(changes: &[Change]) -> bool {
    let mut applying = HashSet::new();
    changes.iter().any(|change| matches!(change, Change::Apply { key, .. } if !applying.insert(*key)))
}
