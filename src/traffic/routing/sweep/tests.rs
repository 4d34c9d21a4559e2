//! Broken tables, and the faults that the sweep finds in them.

use std::sync::Arc;

use super::*;
use crate::traffic::tests::{World, apply, record, route};

type Break = fn(&mut RoutingTable);

const KEY: (SessionKey, RouteId) = (SessionKey(1), RouteId(1));

/// Two sessions that share a pool, on hosts of each kind.
fn world() -> World {
    World::of([
        record(1),
        apply(1, [route(1, "a,*.b,*", "/x", 0, "http://b1"), route(2, "a", "/x/y", 1, "http://b1")]),
        record(2),
        apply(2, [route(1, "a", "/x", 0, "http://b2")]),
    ])
}

#[test]
fn a_broken_table_is_found() {
    assert_eq!(world().table.fault(), None);
    let breaks: [(&str, Break); 6] = [
        ("does not belong at a/x", |table| drop(table.endpoints.remove(&KEY))),
        ("is no member of its pool at a", |table| drop(table.exact.remove("a"))),
        ("stands under another key", |table| {
            let endpoint = Arc::clone(&table.endpoints[&KEY]);
            table.endpoints.insert((SessionKey(7), RouteId(1)), endpoint);
        }),
        ("z has no path", |table| drop(table.exact.insert("z".into(), HostPaths::default()))),
        ("does not share the admin state", |table| drop(table.shared.remove(&SessionKey(1)))),
        ("is no member of its pool at *.b", |table| table.wildcard = table.wildcard.without("b")),
    ];
    for (expected, break_it) in breaks {
        let mut table = world().table;
        break_it(&mut table);
        let fault = table.fault().expect(expected);
        assert!(fault.contains(expected), "{fault}");
    }
}

#[test]
fn a_table_that_differs_from_the_catalog_is_found() {
    for (edit, expected) in [
        (route(3, "c", "/", 0, "http://b1"), "r3 of session 1 differs"),
        (route(2, "a", "/x/y", 1, "http://other"), "r2 of session 1 differs"),
        (crate::domain::Edit::Route(RouteId(1), None), "r1 of session 1 differs"),
    ] {
        let (mut world, change) = (world(), apply(1, [edit]));
        assert_eq!(world.table.disagreement(&world.catalog, std::slice::from_ref(&change)), None);
        world.catalog.absorb(&change);
        let fault = world.table.disagreement(&world.catalog, std::slice::from_ref(&change)).expect(expected);
        assert!(fault.contains(expected), "{fault}");
    }
    let (mut world, end) = (world(), Change::End(SessionKey(2)));
    world.catalog.absorb(&end);
    assert!(world.table.disagreement(&world.catalog, &[end]).is_some());
}

#[test]
fn of_a_large_table_what_changed_is_checked() {
    let count = u32::try_from(COMPLETE_MAX).unwrap() + 1;
    let many = (1..=count + 1).map(|id| route(id, "a", &format!("/{id}"), 0, "http://b"));
    let world = World::of([record(1), apply(1, many)]);
    let table = world.table.clone();
    assert_eq!(table.whole_disagreement(&world.catalog), None);
    let mut broken = table.clone();
    broken.endpoints.remove(&KEY);
    let fault = broken.fault_since(&table);
    assert!(fault.is_some_and(|fault| fault.contains("is still a member at a")));
    let mut broken = table.clone();
    broken.exact.remove("a");
    assert_eq!(broken.fault_since(&table), None, "no endpoint has changed");
    assert!(broken.whole_disagreement(&world.catalog).is_some_and(|fault| fault.contains("is no member of its pool")));
    assert!(broken.fault_since(&RoutingTable::default()).is_some());
}
