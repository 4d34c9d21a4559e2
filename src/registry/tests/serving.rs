//! Tests of sessions: binding, takeover, grace and shutdown.

use crate::domain::{ConnectionId, Kind, RouteId, Topics};
use crate::registry::Query;
use crate::registry::commands::{ClientShutdown, Disconnect, Reconnect, Subscribe};

use super::*;

fn reconnect(world: &mut World, session: &SessionId, connection: u64) -> Reply {
    world.run(Reconnect { session: session.clone(), connection: Some(ConnectionId(connection)) }).unwrap()
}

#[test]
fn a_session_lives_for_the_grace_period_after_its_connection_ended() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let start = world.now;
    world.pass(Span::from_secs(3600));
    world.expire(&session, start);
    world.run(Disconnect { connection: ConnectionId(1) }).unwrap();
    world.pass(Span::from_secs(299));
    world.expire(&session, start);
    assert_eq!(reconnect(&mut world, &session, 2), Reply::Reconnected);
    world.run(Disconnect { connection: ConnectionId(2) }).unwrap();
    world.pass(Span::from_secs(300));
    world.expire(&session, start);
    assert_eq!(reconnect(&mut world, &session, 3), Reply::Gone);
}

#[test]
fn a_command_or_query_of_a_disconnected_session_prolongs_its_grace() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let start = world.now;
    world.run(Disconnect { connection: ConnectionId(1) }).unwrap();
    world.pass(Span::from_secs(200));
    world.ask(&Query::Ping(session.clone())).unwrap();
    world.pass(Span::from_secs(200));
    world.expire(&session, start);
    assert!(world.catalog.session(session.reveal()).is_ok());
}

#[test]
fn a_restarting_instance_takes_over_without_a_gap() {
    let mut world = World::new();
    let old = world.register("shop", "shop-1", 1);
    world.add(&old, "shop.example", "/");
    world.apply(&old).unwrap();
    let new = world.register("shop", "shop-1", 2);
    assert_eq!(world.ask(&Query::Ping(old)).unwrap_err(), Error::replaced_session());
    assert_eq!(world.catalog.routes_len(), 1, "the old routes serve");
    world.add(&new, "shop.example", "/");
    assert_eq!(world.catalog.routes_len(), 1);
    world.apply(&new).unwrap();
    assert_eq!(world.catalog.sessions_len(), 1, "the first apply replaces the old session");
    assert_eq!(world.session(&new).active.routes.keys().copied().collect::<Vec<_>>(), [RouteId(1)]);
}

#[test]
fn an_apply_of_nothing_also_ends_the_replaced_session() {
    let mut world = World::new();
    let old = world.register("shop", "shop-1", 1);
    world.add(&old, "shop.example", "/");
    world.apply(&old).unwrap();
    let new = world.register("shop", "shop-1", 2);
    world.apply(&new).unwrap();
    assert_eq!((world.catalog.routes_len(), world.session(&new).record.revision), (0, 0));
}

#[test]
fn an_instance_that_registers_again_and_again_keeps_its_routes_serving() {
    let mut world = World::new();
    let first = world.register("shop", "shop-1", 1);
    world.add(&first, "shop.example", "/");
    world.apply(&first).unwrap();
    let key = world.session(&first).key;
    world.register("shop", "shop-1", 2);
    let start = world.now;
    world.pass(Span::from_secs(299));
    let third = world.register("shop", "shop-1", 3);
    world.pass(Span::from_secs(299));
    world.run(Expire { key, since: start }).unwrap();
    assert_eq!((world.catalog.routes_len(), world.catalog.sessions_len()), (1, 2));
    world.pass(Span::from_secs(1));
    world.run(Expire { key, since: start }).unwrap();
    assert_eq!(world.catalog.routes_len(), 0);
    assert!(world.catalog.session(third.reveal()).is_ok());
}

#[test]
fn a_connection_that_binds_a_second_session_lets_go_of_its_first() {
    let mut world = World::new();
    let first = world.register("shop", "shop-1", 1);
    let second = world.register("shop", "shop-2", 1);
    assert_eq!(world.session(&first).bound, None);
    assert_eq!(world.session(&second).bound, Some(ConnectionId(1)));
    reconnect(&mut world, &first, 1);
    assert_eq!(world.session(&second).bound, None);
}

#[test]
fn the_connection_bound_last_counts() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    reconnect(&mut world, &session, 2);
    world.run(Disconnect { connection: ConnectionId(1) }).unwrap();
    assert_eq!(world.session(&session).bound, Some(ConnectionId(2)));
}

#[test]
fn a_shutdown_from_another_connection_closes_the_bound_one() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let shutdown = ClientShutdown { subject: session.clone().into(), connection: Some(ConnectionId(2)) };
    let context = world.context();
    let decided = Command::from(shutdown.clone()).decide(&world.catalog, context).unwrap();
    assert!(decided.effects.contains(&Effect::Close(ConnectionId(1))));
    world.run(shutdown).unwrap();
    assert_eq!(world.catalog.sessions_len(), 0);
    assert_eq!(reconnect(&mut world, &session, 1), Reply::Gone);
}

#[test]
fn sessions_are_bounded_but_a_restart_of_a_known_instance_is_not() {
    let mut world = World::new();
    world.limits.sessions_max = 1;
    world.register("shop", "shop-1", 1);
    world.register("shop", "shop-1", 2);
    let register = Register {
        service: ServiceName::parse("shop").unwrap(),
        instance: InstanceName::parse("shop-2").unwrap(),
        maintenance_port: 0,
        metadata: Metadata::default(),
        nonce: 7,
        connection: Some(ConnectionId(3)),
        token: None,
        origin: None,
        lease: None,
    };
    assert_eq!(world.run(register).unwrap_err().kind(), Kind::Limited);
}

#[test]
fn subscribing_twice_changes_nothing_more() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let subscribe = Subscribe { session, topics: Topics::parse("all").unwrap() };
    world.run(subscribe.clone()).unwrap();
    let revision = world.catalog.revision();
    world.run(subscribe).unwrap();
    assert_eq!(world.catalog.revision(), revision);
}
