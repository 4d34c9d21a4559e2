//! The comparison of the store with the catalog: each row that is missing, left or wrong is found.

use super::*;
use crate::domain::{ConnectionId, PendingKind, Ticket};
use crate::lifecycle::Lifecycle;
use crate::registry::commands::{NewRoute, RouteAdd};
use crate::registry::{
    CallOrigin, Publish, RegistrationTokens, RegistryLimits, Store, StoreError, StoredState, Traffic,
    open as open_registry,
};

/// A store and a catalog that took in the same changes, with a row in each table.
async fn pair() -> (Sqlite, Catalog) {
    let mut record = samples::record("shop", "shop-1");
    record
        .maintenance
        .enter(Target::Route(RouteId(1)), MaintenanceEntry { page: None, entered: Time(1), by_operator: false });
    let pending = Pending { ticket: Ticket(1), kind: PendingKind::Enter, targets: [Target::All].into(), page: None };
    let changes = [
        Change::Record(KEY, Arc::new(record)),
        applied([samples::route_edit(1, "a.example", "/")]),
        staged(2),
        Change::Await(KEY, pending),
        Change::Bind(KEY, ConnectionId(7)),
    ];
    let (mut store, mut catalog) = (Sqlite::open("sqlite::memory:").await.unwrap(), Catalog::default());
    changes.iter().for_each(|change| catalog.absorb(change));
    store.commit(&changes, &AuditBatch::default(), catalog.revision()).await.unwrap();
    (store, catalog)
}

#[test]
fn a_write_that_was_left_out_or_went_wrong_is_found() {
    run(async {
        let (mut store, catalog) = pair().await;
        assert_eq!(store.disagreement(&catalog, &[KEY].into()).await, None);
        for (fault, words) in [
            ("update registry set revision = revision - 1", "revision, sessions, active routes"),
            ("delete from session", "revision, sessions, active routes"),
            ("delete from active", "revision, sessions, active routes"),
            ("insert into staged values (9, 'routes', 1, '', null)", "rows without a session"),
            ("insert into maintenance values (9, 1, null, null, 0)", "rows without a session"),
            ("update session set next_route = next_route + 7", "session 1: its record"),
            ("update session set token = 'team-a'", "session 1: its record"),
            ("delete from maintenance", "session 1: its record"),
            ("update active set value = replace(value, 'a.example', 'b.example')", "session 1: its active"),
            ("insert into active values (1, 'options', 0, 'timeout', '1s')", "session 1: its active"),
            ("delete from staged", "session 1: its record"), // the number of its next route
            ("update staged set value = null", "session 1: its staged"),
            ("insert into staged values (1, 'options', 0, 'timeout', '1s')", "session 1: its staged"),
            ("delete from pending", "session 1: its waiting requests"),
            ("insert into confirmation values (1, 'c', 1, 0, 5, null, null)", "session 1: its confirmation"),
            ("insert into history_of values (1, 'shop', 'shop-1')", "revision, sessions, active routes"),
            ("update staged set value = '{'", "table staged, session 1"),
        ] {
            let (mut store, catalog) = pair().await;
            sql(&mut store, fault).await;
            let found = store.disagreement(&catalog, &[KEY].into()).await;
            assert!(found.as_ref().is_some_and(|found| found.contains(words)), "{fault}: {found:?}");
        }
    });
}

/// A store that leaves out the rows of staged edits.
struct Forgetful(Sqlite);

impl Store for Forgetful {
    async fn load(&mut self) -> Result<StoredState, StoreError> {
        self.0.load().await
    }

    async fn commit(&mut self, changes: &[Change], audit: &AuditBatch, revision: u64) -> Result<(), StoreError> {
        let kept: Vec<Change> =
            changes.iter().filter(|change| !matches!(change, Change::Stage { .. })).cloned().collect();
        self.0.commit(&kept, audit, revision).await
    }

    async fn disagreement(
        &mut self,
        catalog: &Catalog,
        keys: &std::collections::BTreeSet<SessionKey>,
    ) -> Option<String> {
        self.0.disagreement(catalog, keys).await
    }

    async fn close(self) {}
}

struct Nothing;

impl Publish for Nothing {
    fn publish(&mut self, _: &Arc<Catalog>, _: &[Change]) {}
}

impl Traffic for Nothing {}

#[test]
fn a_registry_whose_store_leaves_out_a_write_stops_in_debug_builds() {
    run(async {
        let (limits, tokens) = (RegistryLimits::default(), RegistrationTokens::default());
        let mut store = Sqlite::open("sqlite::memory:").await.unwrap();
        store.commit(&[opened()], &AuditBatch::default(), 1).await.unwrap();
        let opened = open_registry(Forgetful(store), Nothing, Arc::new(Nothing), limits, tokens).await;
        let (registry, writer) = opened.unwrap();
        let core = Lifecycle::new();
        core.spawn("writer", writer.run(core.stopping().clone()));
        let session = registry.catalog().by_key(KEY).unwrap().record.id.clone();
        let route = samples::route(1, "a.example", "/");
        let route = NewRoute { domains: route.domains, path: route.path, backend: route.backend, priority: 0 };
        let added = registry.execute_one(CallOrigin::SERVER, RouteAdd { session, route }.into()).await;
        assert!(added.is_err(), "the route is answered although it is not stored");
        core.stopping().cancelled().await;
    });
}
