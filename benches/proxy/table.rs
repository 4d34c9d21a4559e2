//! Measures a change and a lookup of the routing table by the number of routes: `cargo bench --bench proxy -- table`.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use signalbox::domain::{
    BackendUrl, Catalog, Change, Edit, Host, InstanceName, PathPrefix, Route, RouteId, Sections, ServiceName,
    SessionKey, SessionRecord, Time,
};
use signalbox::traffic::{RouteDefaults, RoutingTable};

/// The distribution of routes: each on its own host, or all on one.
#[derive(Clone, Copy)]
enum Spread {
    Hosts,
    Paths,
}

pub fn measure() {
    println!("{:<16} {:>8} {:>14} {:>14} {:>14}", "", "routes", "change µs", "lookup ns", "bytes/route");
    for (name, spread) in [("a host each", Spread::Hosts), ("one host", Spread::Paths)] {
        for routes in [10, 1_000, 10_000, 100_000] {
            let before = resident_bytes();
            let (mut catalog, mut table) = world(spread, routes);
            let bytes = resident_bytes().saturating_sub(before) / u64::from(routes);
            let change = per_change(&mut catalog, &mut table, spread, routes);
            let lookup = per_lookup(&table, spread, routes);
            let micros = change.as_secs_f64() * 1e6;
            println!("{name:<16} {routes:>8} {micros:>14.1} {lookup:>14.0} {bytes:>14}");
        }
    }
}

fn world(spread: Spread, routes: u32) -> (Catalog, RoutingTable) {
    let mut catalog = Catalog::default();
    let key = SessionKey(1);
    catalog.absorb(&Change::Record(key, head()));
    catalog.absorb(&apply((1..=routes).map(|id| route(spread, id, "http://10.0.0.1:3000"))));
    let table = RoutingTable::build(&catalog, &RouteDefaults::default());
    (catalog, table)
}

/// The median of changing one route's backend and publishing the table, the old one still being read.
fn per_change(catalog: &mut Catalog, table: &mut RoutingTable, spread: Spread, routes: u32) -> Duration {
    let mut times: Vec<Duration> = (0..1001)
        .map(|n| {
            let backend = format!("http://10.0.0.2:{}", 3000 + n);
            let change = apply([route(spread, 1 + n * 7919 % routes, &backend)]);
            catalog.absorb(&change);
            let old = Arc::new(table.clone());
            let began = Instant::now();
            let mut new = RoutingTable::clone(&old);
            new.absorb(catalog, &change, &RouteDefaults::default());
            let took = began.elapsed();
            *table = new;
            took
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn per_lookup(table: &RoutingTable, spread: Spread, routes: u32) -> f64 {
    let asked: Vec<(String, String)> = (0..1000).map(|n| place(spread, 1 + n * 7919 % routes)).collect();
    let began = Instant::now();
    for _ in 0..100 {
        for (host, path) in &asked {
            assert!(std::hint::black_box(table.find(host, path)).is_some());
        }
    }
    began.elapsed().as_secs_f64() * 1e9 / 100_000.0
}

fn place(spread: Spread, id: u32) -> (String, String) {
    match spread {
        Spread::Hosts => (format!("host{id}.example"), "/".into()),
        Spread::Paths => ("shop.example".into(), format!("/area{}/item{id}", id % 100)),
    }
}

fn route(spread: Spread, id: u32, backend: &str) -> Edit {
    let (host, path) = place(spread, id);
    let route = Route {
        id: RouteId(id),
        name: None,
        domains: vec![Host::parse(&host).expect("a host")],
        path: PathPrefix::parse(&path).expect("a path"),
        backend: BackendUrl::parse(backend).expect("a backend"),
        priority: 0,
    };
    Edit::Route(RouteId(id), Some(Arc::new(route)))
}

fn apply(edits: impl IntoIterator<Item = Edit>) -> Change {
    Change::Apply { key: SessionKey(1), sections: Sections::ALL, edits: edits.into_iter().collect() }
}

/// Catalog and table together, as the system counts them.
fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or_default();
    pages * 4096
}

/// Some session.
fn head() -> Arc<SessionRecord> {
    let (service, instance) = (ServiceName::parse("shop"), InstanceName::parse("shop-1"));
    Arc::new(SessionRecord::opened(service.expect("a name"), instance.expect("a name"), 0, Time(0)))
}
