//! Tests of leases: their bounds, the times at which sessions end, and the warning before.

use crate::domain::{Fingerprint, Kind, Lease, LeaseBound, RegistrationToken, Secret, TokenName};
use crate::registry::calls::{Ping, SessionInfo};
use crate::registry::commands::{ClientShutdown, Disconnect, Reconnect};
use crate::registry::queries::session::SessionView;
use crate::registry::runtime::deadlines::Deadlines;

use super::*;

const CONNECTION: ConnectionId = ConnectionId(1);

fn registration(world: &mut World, metadata: &str, lease: Option<&str>, connection: Option<ConnectionId>) -> Register {
    world.nonce += 1;
    Register {
        service: ServiceName::parse("shop").unwrap(),
        instance: InstanceName::parse("shop-1").unwrap(),
        maintenance_port: 0,
        metadata: Metadata::parse(metadata).unwrap(),
        nonce: world.nonce,
        connection,
        token: None,
        origin: None,
        lease: lease.map(|lease| Lease::parse(lease).unwrap()),
    }
}

/// Registers without a lasting connection.
fn leased(world: &mut World, lease: &str) -> SessionId {
    let register = registration(world, "{}", Some(lease), None);
    let Ok(Reply::Registered(id)) = world.run(register) else { panic!("registered") };
    id
}

fn info(world: &World, session: &SessionId) -> SessionView {
    let Ok(Answer::Session(view)) = world.ask(&SessionInfo(session.clone()).into()) else { panic!("a session") };
    *view
}

/// Returns the times at which something is due for a session, if nobody gives a sign of life.
fn due(world: &mut World, session: &SessionId) -> Vec<u64> {
    let (start, key) = (world.now, world.session(session).key);
    let (mut deadlines, mut times) = (Deadlines::default(), Vec::new());
    deadlines.set(key, world.catalog.by_key(key).map(Arc::as_ref), &world.limits, start);
    while let Some(next) = deadlines.next() {
        world.now = next;
        times.push(next.since(start).millis() / 1_000);
        let [expire] = &deadlines.due(next, 10)[..] else { panic!("one deadline") };
        world.run(expire.clone()).unwrap();
        deadlines.pass(key, world.catalog.by_key(key).map(Arc::as_ref), &world.limits, next);
    }
    times
}

fn is_alive(world: &World, session: &SessionId) -> bool {
    world.catalog.session(session.reveal()).is_ok()
}

#[test]
fn a_session_is_warned_and_ends_as_its_lease_says_and_never_with_a_permanent_one() {
    for (lease, expected) in [
        ("24h", &[86_340, 86_400][..]),
        ("2m", &[60, 120]),
        ("100s", &[50, 100]),
        ("2s", &[1, 2]),
        ("876000h", &[3_153_599_940, 3_153_600_000]),
        ("permanent", &[]),
    ] {
        let mut world = World::new();
        let session = leased(&mut world, lease);
        assert_eq!(due(&mut world, &session), expected, "{lease}");
        assert_eq!(is_alive(&world, &session), expected.is_empty(), "{lease}");
        assert_eq!(world.warnings, expected.len() / 2, "{lease}");
    }
}

#[test]
fn the_event_before_the_end_names_the_instance_and_the_time() {
    let mut world = World::new();
    let session = leased(&mut world, "1h");
    let expires_at = world.now.after(Span::from_secs(3_600));
    due(&mut world, &session);
    let (service, instance) = (ServiceName::parse("shop").unwrap(), InstanceName::parse("shop-1").unwrap());
    assert_eq!(world.events, [Event::SessionExpiring { service, instance, expires_at }]);
    let leases: Vec<_> = world.audit.iter().map(|draft| draft.details.lease.as_deref()).collect();
    assert_eq!(leases, [Some("1h0m0s"); 2], "of the registration and of the end");
}

#[test]
fn every_sign_of_life_begins_the_lease_again_and_an_open_connection_stops_it() {
    let mut world = World::new();
    let session = leased(&mut world, "1h");
    let in_an_hour = |world: &World| Some(world.now.after(Span::from_secs(3_600)));
    world.pass(Span::from_secs(3_000));
    world.ask(&Ping(session.clone()).into()).unwrap();
    assert_eq!(info(&world, &session).expires_at, in_an_hour(&world));
    world.pass(Span::from_secs(3_000));
    assert_eq!(info(&world, &session).expires_at, in_an_hour(&world), "asking is a sign of life too");
    world.run(Reconnect { session: session.clone(), connection: Some(CONNECTION) }).unwrap();
    assert_eq!((info(&world, &session).expires_at, due(&mut world, &session)), (None, vec![]));
    world.pass(Span::from_secs(10_000));
    world.run(Disconnect { connection: CONNECTION }).unwrap();
    assert_eq!(info(&world, &session).expires_at, in_an_hour(&world));
    assert_eq!(info(&world, &session).lease.to_string(), "1h0m0s", "reconnecting keeps it");
}

#[test]
fn a_permanent_session_survives_a_lost_connection_and_ends_when_it_is_ended() {
    let mut world = World::new();
    let register = registration(&mut world, r#"{"lease":"permanent"}"#, None, Some(CONNECTION));
    let Ok(Reply::Registered(session)) = world.run(register) else { panic!("registered") };
    world.run(Disconnect { connection: CONNECTION }).unwrap();
    assert!(due(&mut world, &session).is_empty());
    let view = info(&world, &session);
    assert_eq!((view.lease, view.expires_at, view.metadata.as_str()), (Lease::Permanent, None, "{}"));
    world.run(ClientShutdown { subject: session.clone().into(), connection: None }).unwrap();
    assert!(!is_alive(&world, &session));
}

#[test]
fn without_a_lease_the_grace_counts_as_it_is_now() {
    let mut world = World::new();
    let register = registration(&mut world, "{}", None, None);
    let Ok(Reply::Registered(session)) = world.run(register) else { panic!("registered") };
    assert_eq!(info(&world, &session).lease.to_string(), "5m0s");
    world.limits.grace = Span::from_secs(30);
    assert_eq!(info(&world, &session).lease.to_string(), "30s");
    assert_eq!(due(&mut world, &session), [15, 30]);
}

#[test]
fn a_new_registration_of_an_instance_brings_its_own_lease() {
    let mut world = World::new();
    let first = leased(&mut world, "permanent");
    world.add(&first, "shop.example", "/");
    world.apply(&first).unwrap();
    let old = world.session(&first).key;
    let second = leased(&mut world, "1h");
    assert_eq!(info(&world, &second).lease.to_string(), "1h0m0s");
    let ends = crate::registry::leases::ends_at(world.catalog.by_key(old).unwrap(), &world.limits);
    assert_eq!(ends, Some(world.now.after(world.limits.grace)), "the old routes serve for the grace period");
    let third = leased(&mut world, "permanent");
    assert_eq!(info(&world, &third).expires_at, None);
}

#[test]
fn the_key_lease_of_the_metadata_is_a_lease_or_refused() {
    let mut world = World::new();
    for (metadata, lease, kept) in [
        (r#"{"lease":"24h","v":1}"#, "24h0m0s", r#"{"v":1}"#),
        (r#"{"lease":3600}"#, "1h0m0s", "{}"),
        (r#"{"l\u0065ase":"permanent"}"#, "permanent", "{}"),
        (r#"{"lease":null}"#, "5m0s", "{}"),
        (r#"{"b": 1, "a": {"lease":"dhcp"}}"#, "5m0s", r#"{"b": 1, "a": {"lease":"dhcp"}}"#),
    ] {
        let register = registration(&mut world, metadata, None, None);
        let Ok(Reply::Registered(session)) = world.run(register) else { panic!("{metadata}") };
        let view = info(&world, &session);
        assert_eq!((view.lease.to_string().as_str(), view.metadata.as_str()), (lease, kept), "{metadata}");
    }
    let count = world.catalog.sessions_len();
    for wrong in [r#""dhcp-7""#, "true", "[]", r#"{"hours":1}"#, "0", "-1", "1.5", r#""""#, r#""500ms""#] {
        let register = registration(&mut world, &format!(r#"{{"lease":{wrong}}}"#), None, None);
        let error = world.run(register).unwrap_err();
        assert_eq!((error.kind(), error.field()), (Kind::Invalid, Some("lease")), "{wrong}");
        assert!(
            error.to_string().contains("write a duration such as 90s, 30m or 24h, or permanent; metadata of your own")
        );
    }
    assert_eq!(world.catalog.sessions_len(), count);
    let register = registration(&mut world, r#"{"lease":"24h"}"#, Some("2h"), None);
    let Ok(Reply::Registered(session)) = world.run(register) else { panic!("registered") };
    assert_eq!(info(&world, &session).lease.to_string(), "2h0m0s", "the field goes before the metadata");
}

#[test]
fn the_server_and_a_token_bound_leases_and_say_the_bound() {
    let mut world = World::new();
    world.limits.lease_max = LeaseBound::AtMost(Span::from_secs(48 * 3_600));
    let token = |name: &str, lease_max| RegistrationToken {
        name: TokenName::parse(name).unwrap(),
        secret: Fingerprint::of(&Secret::new(name)),
        services: Vec::new(),
        domains: Vec::new(),
        path_prefixes: Vec::new(),
        backends: Vec::new(),
        max_routes: None,
        max_sessions: None,
        lease_max,
    };
    let day = LeaseBound::AtMost(Span::from_secs(24 * 3_600));
    world.tokens = vec![token("day", day), token("free", LeaseBound::Any), token("bare", LeaseBound::Nothing)].into();
    let mut ask = |name: &str, lease: &str| {
        let register = registration(&mut world, "{}", Some(lease), None);
        let catalog = Catalog::default();
        let register = Command::from(Register { token: Some(Secret::new(name)), ..register });
        let refused = register.decide(&catalog, world.context()).err()?;
        assert_eq!((refused.kind(), refused.field()), (Kind::Denied, Some("lease")), "{name} {lease}");
        Some(refused.to_string())
    };
    assert_eq!((ask("day", "24h"), ask("free", "48h")), (None, None));
    assert_eq!(
        ask("day", "876000h").unwrap(),
        "lease: token day does not allow the lease 876000h0m0s; the longest lease that it allows is 24h0m0s"
    );
    assert!(ask("day", "permanent").unwrap().ends_with("the longest lease that it allows is 24h0m0s"));
    assert!(ask("bare", "1s").unwrap().ends_with("it allows none; leave the lease out"));
    assert_eq!(
        ask("free", "permanent").unwrap(),
        "lease: session.lease_max does not allow the lease permanent; the longest lease that it allows is 48h0m0s"
    );
}

#[test]
fn a_permanent_session_without_connection_needs_no_deadline() {
    let mut world = World::new();
    let session = leased(&mut world, "permanent");
    let mut deadlines = Deadlines::default();
    let held = Arc::clone(world.session(&session));
    deadlines.set(held.key, Some(&held), &world.limits, world.now);
    assert_eq!((deadlines.next(), deadlines.disagreement(&world.catalog)), (None, None));
}
