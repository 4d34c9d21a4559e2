//! Tests of validation, apply, partial apply and rollback, and of claims.

use std::sync::Arc;

use crate::domain::{HeaderKey, Kind, RouteId, Target};
use crate::registry::commands::{HeadersSet, RatelimitSet, RouteField};
use crate::registry::queries::configuration::RoutesDiff;
use crate::registry::{Answer, Query};

use super::*;

fn header(session: &SessionId, target: Target) -> HeadersSet {
    HeadersSet { session: session.clone(), target, name: HeaderKey::parse("x-a").unwrap(), value: "1".into() }
}

#[test]
fn an_apply_counts_and_one_with_nothing_staged_does_not() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    world.apply(&session).unwrap();
    assert_eq!(world.session(&session).record.revision, 0);
    world.add(&session, "shop.example", "/");
    world.apply(&session).unwrap();
    let revision = world.catalog.revision();
    world.apply(&session).unwrap();
    assert_eq!((world.session(&session).record.revision, world.catalog.revision()), (1, revision));
    assert_eq!(world.events, [Event::ConfigApplied { revision: 1 }]);
}

#[test]
fn every_problem_is_reported_in_one_message() {
    let mut world = World::new();
    let other = world.register("blog", "blog-1", 1);
    world.add(&other, "blog.example", "/");
    world.apply(&other).unwrap();
    let session = world.register("shop", "shop-1", 2);
    world.add(&session, "shop.example", "/");
    world.add(&session, "shop.example", "/");
    world.add(&session, "blog.example", "/");
    let refused = world.apply(&session).unwrap_err();
    assert_eq!(refused.kind(), Kind::Conflict);
    let expected = "route r2: shop.example / at priority 0 is what r1 has already; \
                    route r3: blog.example / at priority 0 is held by service blog";
    assert_eq!(refused.to_string(), expected);
    let validated = world.ask(&Query::ConfigValidate(session.clone())).unwrap_err();
    assert_eq!(validated, refused, "validate says what apply says");
    assert!(world.session(&session).active.routes.is_empty(), "a refused apply changes nothing");
}

#[test]
fn another_priority_is_another_claim() {
    let mut world = World::new();
    let other = world.register("blog", "blog-1", 1);
    world.add(&other, "shop.example", "/");
    world.apply(&other).unwrap();
    let session = world.register("shop", "shop-1", 2);
    let id = world.add(&session, "shop.example", "/");
    world.update(&session, id, RouteField::Priority(1)).unwrap();
    world.apply(&session).unwrap();
}

#[test]
fn two_routes_may_swap_their_places_in_one_apply() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let a = world.add(&session, "shop.example", "/a");
    let b = world.add(&session, "shop.example", "/b");
    world.apply(&session).unwrap();
    world.update(&session, a, RouteField::Path("/b".parse_path())).unwrap();
    assert!(said(world.apply(&session)).contains("is what"));
    world.update(&session, b, RouteField::Path("/a".parse_path())).unwrap();
    world.apply(&session).unwrap();
}

#[test]
fn instances_of_one_service_share_a_claim() {
    let mut world = World::new();
    for (connection, instance) in [(1, "shop-1"), (2, "shop-2")] {
        let session = world.register("shop", instance, connection);
        world.add(&session, "shop.example", "/");
        world.apply(&session).unwrap();
    }
    let claim = route("shop.example", "/").domains[0].clone();
    let claim = crate::domain::Claim { host: claim, path: "/".parse_path(), priority: 0 };
    assert_eq!(world.catalog.claimants(&claim).unwrap().routes.len(), 2);
}

#[test]
fn a_header_for_a_route_staged_for_removal_is_found_by_validation() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let id = world.add(&session, "shop.example", "/");
    world.apply(&session).unwrap();
    world.remove(&session, id).unwrap();
    world.run(header(&session, Target::Route(id))).unwrap();
    assert!(said(world.apply(&session)).starts_with("route r1: is staged for removal but keeps header x-a"));
}

#[test]
fn a_partial_apply_moves_its_sections_and_leaves_the_rest_staged() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    world.add(&session, "shop.example", "/");
    world.run(header(&session, Target::All)).unwrap();
    world.apply_only(&session, "routes").unwrap();
    let now = Arc::clone(world.session(&session));
    assert_eq!((now.active.routes.len(), now.active.headers.len()), (1, 0));
    assert_eq!(now.difference().added.len(), 1);
    world.apply_only(&session, "headers").unwrap();
    assert!(world.session(&session).staged.is_none());
}

#[test]
fn a_partial_apply_leaves_nothing_that_dangles() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let id = world.add(&session, "shop.example", "/");
    world.run(header(&session, Target::Route(id))).unwrap();
    assert!(said(world.apply_only(&session, "headers")).contains("is not active; apply routes with headers"));
    world.apply(&session).unwrap();
    world.remove(&session, id).unwrap();
    assert!(said(world.apply_only(&session, "routes")).contains("keeps header x-a; apply headers with routes"));
    world.apply_only(&session, "routes,headers").unwrap();
}

#[test]
fn an_apply_is_atomic_across_sections() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    world.add(&session, "shop.example", "/");
    world.add(&session, "shop.example", "/");
    let limit = crate::domain::RateLimit { requests: 1, window: Span::from_secs(1) };
    world.run(RatelimitSet { session: session.clone(), target: Target::All, limit }).unwrap();
    world.apply(&session).unwrap_err();
    assert!(world.session(&session).active.limits.is_empty());
    world.remove(&session, RouteId(2)).unwrap();
    world.apply(&session).unwrap();
    assert_eq!(world.session(&session).active.limits.len(), 1);
}

#[test]
fn a_rollback_drops_what_is_staged_and_nothing_else() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    world.add(&session, "shop.example", "/");
    world.apply(&session).unwrap();
    world.remove(&session, RouteId(1)).unwrap();
    world.rollback(&session).unwrap();
    world.rollback(&session).unwrap();
    assert_eq!(world.session(&session).active.routes.len(), 1);
    let Ok(Answer::Diff(diff)) = world.ask(&Query::ConfigDiff(session.clone())) else { panic!() };
    assert_eq!(diff.routes, RoutesDiff::default());
}
