//! Tests of the records that commands decide on, and of the warning before a session expires.

use crate::domain::{RateLimit, Target};
use crate::registry::audit::{AuditAction, AuditDetails};
use crate::registry::commands::{Disconnect, HeadersSet, RatelimitSet};

use super::*;

fn actions(world: &World) -> Vec<&'static str> {
    world.audit.iter().map(|draft| draft.action.name()).collect()
}

#[test]
fn an_apply_is_recorded_in_numbers_and_staging_is_not_recorded() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    world.audit.clear();
    let [first, second] = ["a.example", "b.example"].map(|domain| world.add(&session, domain, "/"));
    let limit = RateLimit { requests: 1, window: Span::from_secs(1) };
    world.run(RatelimitSet { session: session.clone(), target: Target::All, limit }).unwrap();
    assert!(world.audit.is_empty(), "{:?}", world.audit);
    world.apply(&session).unwrap();
    world.apply(&session).unwrap();
    world.remove(&session, first).unwrap();
    world.update(&session, second, RouteField::Priority(3)).unwrap();
    world.add(&session, "c.example", "/");
    let (name, value) = (crate::domain::HeaderKey::parse("X-A").unwrap(), "1".into());
    world.run(HeadersSet { session: session.clone(), target: Target::All, name, value }).unwrap();
    world.apply(&session).unwrap();
    let details: Vec<_> = world.audit.iter().map(|draft| draft.details.clone()).collect();
    let none = AuditDetails::default;
    let expected = [
        AuditDetails { routes_added: Some(2), rate_limits_changed: Some(1), number: Some(1), ..none() },
        AuditDetails {
            routes_added: Some(1),
            routes_changed: Some(1),
            routes_removed: Some(1),
            headers_changed: Some(1),
            number: Some(2),
            ..none()
        },
    ];
    assert_eq!(details, expected, "an apply without a change has no record");
}

#[test]
fn the_end_of_a_session_says_how_it_came_and_how_many_routes_went() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    world.add(&session, "a.example", "/");
    world.apply(&session).unwrap();
    world.run(Disconnect { connection: ConnectionId(1) }).unwrap();
    let since = world.now;
    world.pass(world.limits.grace);
    world.expire(&session, since);
    assert_eq!(actions(&world), ["registered", "applied", "disconnected", "expired"]);
    let last = world.audit.last().unwrap();
    assert_eq!((last.action, last.details.routes), (AuditAction::Expired, Some(1)));
}

#[test]
fn a_session_without_connection_is_announced_once_before_it_expires() {
    for (grace, ahead) in [(300, 60), (120, 60), (100, 50), (2, 1)] {
        let mut world = World::new();
        world.limits.grace = Span::from_secs(grace);
        let session = world.register("shop", "shop-1", 1);
        let mut since = world.now;
        world.pass(Span::from_secs(grace - ahead));
        world.expire(&session, since);
        assert_eq!(world.warnings, 0, "it has a connection");
        world.run(Disconnect { connection: ConnectionId(1) }).unwrap();
        since = world.now;
        world.pass(Span::from_millis((grace - ahead) * 1_000 - 1));
        world.expire(&session, since);
        assert_eq!(world.warnings, 0, "{grace}");
        since = world.now;
        world.pass(Span::from_millis(1));
        world.expire(&session, since);
        assert_eq!(world.warnings, 1, "{grace}");
        since = world.now;
        world.pass(Span::from_millis(1));
        world.expire(&session, since);
        assert_eq!(world.warnings, 1, "{grace}");
    }
}
