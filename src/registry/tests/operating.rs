//! Tests of drain, maintenance and breakers.

use crate::domain::{Breaker, Options, PendingKind, RouteId, Target};
use crate::registry::commands::{
    CircuitBreakerReset, CircuitBreakerSet, CompleteMaintenance, DrainCancel, DrainStart, MaintEnter, MaintExit,
    TargetSelector, Verification,
};
use crate::registry::queries::status::MaintenanceView;
use crate::registry::runtime::awaited::awaited;
use crate::registry::{Answer, PageTrust, Query};

use super::*;

fn serving() -> (World, SessionId) {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    world.add(&session, "shop.example", "/");
    world.add(&session, "shop.example", "/admin");
    world.apply(&session).unwrap();
    world.events.clear();
    (world, session)
}

fn enter(world: &mut World, session: &SessionId, places: &str) -> Verification {
    let places = TargetSelector::parse_list(places).unwrap();
    let page = Some(PageUrl::parse("http://pages/down").unwrap());
    let reply = world.run(MaintEnter { subject: session.clone().into(), places, page });
    let Ok(Reply::Maintenance(verification)) = reply else { panic!("{reply:?}") };
    verification
}

fn exit(world: &mut World, session: &SessionId, places: &str) -> Verification {
    let places = TargetSelector::parse_list(places).unwrap();
    let reply = world.run(MaintExit { subject: session.clone().into(), places });
    let Ok(Reply::Maintenance(verification)) = reply else { panic!("{reply:?}") };
    verification
}

fn complete(world: &mut World, verification: &Verification, reached: bool) -> Result<Reply, Error> {
    world.run(CompleteMaintenance { key: verification.key, ticket: verification.ticket, reached })
}

fn status(world: &World, session: &SessionId) -> MaintenanceView {
    let Ok(Answer::Maintenance(view)) = world.ask(&Query::MaintStatus(session.clone())) else { panic!() };
    view
}

#[test]
fn a_drain_is_told_when_it_completes_and_stays() {
    let (mut world, session) = serving();
    let start = world.now;
    let until = start.after(Span::from_secs(10));
    let drain = DrainStart { subject: session.clone().into(), span: Span::from_secs(10) };
    assert_eq!(world.run(drain), Ok(Reply::DrainUntil(until)));
    world.pass(Span::from_secs(4));
    world.expire(&session, start);
    let Ok(Answer::Drain(view)) = world.ask(&Query::DrainStatus(session.clone())) else { panic!() };
    assert_eq!((view.traffic_percent, view.remaining_seconds), (60, 6));
    world.pass(Span::from_secs(6));
    world.expire(&session, start);
    let seen = world.now;
    world.expire(&session, seen);
    assert_eq!(world.events, [Event::DrainCompleted], "it is told once");
    world.run(DrainCancel { subject: session.clone().into() }).unwrap();
    assert_eq!(said(world.run(DrainCancel { subject: session.into() })), "no drain in progress");
}

#[test]
fn maintenance_begins_at_once_and_ends_when_the_backends_answered() {
    let (mut world, session) = serving();
    let entering = enter(&mut world, &session, "/admin");
    assert_eq!(status(&world, &session).in_maintenance, [RouteId(2)]);
    assert_eq!(status(&world, &session).maintenance_backend, "http://pages/down");
    complete(&mut world, &entering, true).unwrap();
    let leaving = exit(&mut world, &session, "r2");
    let awaited = awaited(&leaving, &world.catalog, &Options::default(), RouteId(0)).unwrap().0;
    let [one] = &awaited[..] else { panic!("{awaited:?}") };
    assert!(matches!(one.trust, PageTrust::AsRoute(_, RouteId(2))));
    assert_eq!(one.page.as_str(), "http://127.0.0.1:3000/");
    assert_eq!(status(&world, &session).in_maintenance, [RouteId(2)], "not before they answered");
    complete(&mut world, &leaving, true).unwrap();
    assert!(status(&world, &session).in_maintenance.is_empty());
    let target = Target::Route(RouteId(2));
    let expected = [true, false].map(|in_maintenance| Event::MaintenanceChanged { target, in_maintenance });
    assert_eq!(world.events, expected);
}

#[test]
fn backends_that_never_answer_leave_the_routes_in_maintenance() {
    let (mut world, session) = serving();
    enter(&mut world, &session, "ALL");
    let leaving = exit(&mut world, &session, "shop.example");
    complete(&mut world, &leaving, false).unwrap();
    assert_eq!(status(&world, &session).in_maintenance.len(), 2);
    assert!(world.session(&session).pending.is_empty());
}

#[test]
fn leaving_waits_for_the_backends_that_routes_have_by_then() {
    let (mut world, session) = serving();
    enter(&mut world, &session, "ALL");
    let leaving = exit(&mut world, &session, "r1,r2");
    let asked = |world: &World| {
        let awaited = awaited(&leaving, &world.catalog, &Options::default(), RouteId(0)).unwrap().0;
        awaited.iter().map(|awaited| awaited.page.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(asked(&world), ["http://127.0.0.1:3000/"], "both have the same");
    let moved = RouteField::Backend(crate::domain::BackendUrl::parse("http://127.0.0.1:4000").unwrap());
    world.update(&session, RouteId(1), moved).unwrap();
    world.apply(&session).unwrap();
    assert_eq!(asked(&world), ["http://127.0.0.1:4000/", "http://127.0.0.1:3000/"]);
    world.remove(&session, RouteId(2)).unwrap();
    world.apply(&session).unwrap();
    assert_eq!(asked(&world), ["http://127.0.0.1:4000/"]);
    world.events.clear();
    complete(&mut world, &leaving, true).unwrap();
    let target = Target::Route(RouteId(1));
    assert_eq!(world.events, [Event::MaintenanceChanged { target, in_maintenance: false }], "the other one is gone");
    assert!(!world.session(&session).record.maintenance.routes.contains_key(&RouteId(2)));
}

#[test]
fn nothing_is_kept_of_the_maintenance_of_routes_that_came_to_nothing() {
    let (mut world, session) = serving();
    let ended: [fn(&mut World, &SessionId); 3] = [
        |world, session| drop(world.rollback(session).unwrap()),
        |world, session| {
            let last = *world.session(session).edited().routes.keys().next_back().unwrap();
            world.remove(session, last).unwrap();
        },
        |world, session| {
            let start = world.now;
            world.pass(Span::from_secs(1800));
            world.expire(session, start);
        },
    ];
    for end in ended {
        let id = world.add(&session, "late.example", "/");
        enter(&mut world, &session, &id.to_string());
        assert!(status(&world, &session).entered_at.is_some());
        end(&mut world, &session);
        assert_eq!(status(&world, &session).entered_at, None, "after {id}");
    }
}

#[test]
fn a_newer_request_for_a_route_cancels_the_pending_one() {
    let (mut world, session) = serving();
    let first = enter(&mut world, &session, "r1");
    let other = enter(&mut world, &session, "r2");
    let second = exit(&mut world, &session, "r1");
    assert!(said(complete(&mut world, &first, true)).starts_with("cancelled"));
    complete(&mut world, &other, true).unwrap();
    complete(&mut world, &second, true).unwrap();
    assert_eq!((first.kind, second.kind), (PendingKind::Enter, PendingKind::Exit));
}

#[test]
fn maintenance_of_all_covers_routes_that_come_later() {
    let (mut world, session) = serving();
    enter(&mut world, &session, "ALL");
    world.add(&session, "late.example", "/");
    world.apply(&session).unwrap();
    assert_eq!(status(&world, &session).in_maintenance.len(), 3);
}

#[test]
fn a_place_that_no_route_has_is_refused() {
    let (mut world, session) = serving();
    for place in ["r9", "/nowhere", "other.example"] {
        let places = TargetSelector::parse_list(place).unwrap();
        assert!(world.run(MaintExit { subject: session.clone().into(), places }).is_err(), "{place}");
    }
    assert!(TargetSelector::parse_list("r1,,r2").is_err());
    assert!(TargetSelector::parse_each([]).is_err());
    assert_eq!(TargetSelector::parse_each(["/a,b"]).unwrap(), [TargetSelector::Path("/a,b".parse_path())]);
    let many = |count: usize| TargetSelector::parse_list(&vec!["r1"; count].join(","));
    assert!(many(TargetSelector::LIST_MAX).is_ok() && many(TargetSelector::LIST_MAX + 1).is_err());
}

#[test]
fn places_together_mean_every_route_that_one_of_them_means() {
    let (mut world, session) = serving();
    world.add(&session, "late.example", "/");
    enter(&mut world, &session, "/admin,late.example,r2");
    world.apply(&session).unwrap();
    assert_eq!(status(&world, &session).in_maintenance, [RouteId(2), RouteId(3)], "staged ones as well");
    let places = TargetSelector::parse_list("shop.example,/nowhere,r9").unwrap();
    let refused = world.run(MaintExit { subject: session.clone().into(), places });
    assert_eq!(said(refused), "no route of this session has /nowhere");
}

#[test]
fn a_breaker_can_be_reset_only_where_there_is_one() {
    let (mut world, session) = serving();
    let reset = CircuitBreakerReset { session: session.clone(), id: RouteId(1) };
    assert_eq!(said(world.run(reset.clone())), "no circuit breaker on r1");
    let breaker = Breaker { threshold: 5, timeout: Span::from_secs(30), half_open_requests: 1 };
    world.run(CircuitBreakerSet { session: session.clone(), target: Target::All, breaker }).unwrap();
    assert!(world.run(reset.clone()).is_err(), "staged is not active");
    world.apply(&session).unwrap();
    world.run(reset).unwrap();
}
