//! Measures a `CONFIG_APPLY` of one route without disk and socket, by the number of active routes: `cargo bench --bench apply`.
//!
//! The measured steps: decide, absorb, publish to the routing table, answer. Time and allocations must not grow with
//! the number of routes.

use std::sync::Arc;

use signalbox::domain::{
    BackendUrl, Catalog, Change, ConnectionId, Host, InstanceName, Metadata, PathPrefix, Sections, ServiceName,
    SessionId,
};
use signalbox::registry::commands::{ConfigApply, NewRoute, Register, RouteAdd};
use signalbox::registry::{
    self, AuditBatch, CallOrigin, Publish, RegistrationTokens, Registry, RegistryLimits, Reply, Store, StoreError,
    StoredState, Traffic,
};
use signalbox::traffic::{RouteDefaults, RoutingTable};
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

const ACTIVE: [u32; 4] = [10, 1_000, 10_000, 100_000];

/// Measures with routes of the applying session, each on a host of its own.
#[divan::bench(args = ACTIVE, sample_count = 500)]
fn own_routes_on_hosts_of_their_own(bencher: divan::Bencher<'_, '_>, active: u32) {
    measure(bencher, active, |number| (format!("h{number}.example"), "/".to_owned()));
}

/// Measures with routes of the applying session, all on one host.
#[divan::bench(args = ACTIVE, sample_count = 500)]
fn own_routes_on_one_host(bencher: divan::Bencher<'_, '_>, active: u32) {
    measure(bencher, active, |number| ("one.example".to_owned(), format!("/p{number}")));
}

fn measure(bencher: divan::Bencher<'_, '_>, active: u32, place: fn(u32) -> (String, String)) {
    let world = World::new();
    for number in 0..active {
        world.add(place(number));
    }
    world.apply();
    let mut next = active;
    bencher
        .with_inputs(|| {
            next += 1;
            world.add(place(next));
        })
        .bench_local_values(|()| world.apply());
}

struct World {
    runtime: Runtime,
    registry: Registry,
    session: SessionId,
    _stop: tokio_util::sync::DropGuard,
}

impl World {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let stop = CancellationToken::new();
        let opened = registry::open(
            Nowhere,
            Shown(RoutingTable::default()),
            Arc::new(Nobody),
            RegistryLimits::default(),
            RegistrationTokens::default(),
        );
        let (registry, writer) = runtime.block_on(opened).expect("an empty registry");
        runtime.spawn(writer.run(stop.clone()));
        let register = Register {
            service: ServiceName::parse("shop").expect("a name"),
            instance: InstanceName::parse("shop-1").expect("a name"),
            maintenance_port: 0,
            metadata: Metadata::default(),
            nonce: 1,
            connection: Some(ConnectionId(1)),
            token: None,
            origin: None,
            lease: None,
        };
        let Ok(Reply::Registered(session)) =
            runtime.block_on(registry.execute_one(CallOrigin::SERVER, register.into()))
        else {
            panic!("not registered")
        };
        Self { runtime, registry, session, _stop: stop.drop_guard() }
    }

    fn add(&self, (host, path): (String, String)) {
        let route = NewRoute {
            domains: vec![Host::parse(&host).expect("a host")],
            path: PathPrefix::parse(&path).expect("a path"),
            backend: BackendUrl::parse("http://127.0.0.1:3000").expect("a backend"),
            priority: 0,
        };
        let add = RouteAdd { session: self.session.clone(), route };
        self.runtime.block_on(self.registry.execute_one(CallOrigin::SERVER, add.into())).expect("added");
    }

    fn apply(&self) {
        let apply = ConfigApply {
            subject: self.session.clone().into(),
            sections: Sections::ALL,
            expected: None,
            reason: None,
            confirm: None,
        };
        self.runtime.block_on(self.registry.execute_one(CallOrigin::SERVER, apply.into())).expect("applied");
    }
}

struct Nowhere;

impl Store for Nowhere {
    async fn load(&mut self) -> Result<StoredState, StoreError> {
        Ok(StoredState::default())
    }

    async fn commit(&mut self, _: &[Change], _: &AuditBatch, _: u64) -> Result<(), StoreError> {
        Ok(())
    }

    async fn close(self) {}
}

struct Shown(RoutingTable);

impl Publish for Shown {
    fn publish(&mut self, catalog: &Arc<Catalog>, changes: &[Change]) {
        changes.iter().for_each(|change| self.0.absorb(catalog, change, &RouteDefaults::default()));
        divan::black_box(self.0.clone());
    }
}

struct Nobody;

impl Traffic for Nobody {}
