//! Tests of staging: the effects of commands on the staged configuration.

use crate::domain::{BackendUrl, HeaderKey, Kind, OptionKey, RouteId, Span, Target};
use crate::registry::commands::{HeadersRemove, HeadersSet, OptionsRemove, OptionsSet, RouteAddBulk, RouteField};
use crate::registry::queries::session::RouteStatus;
use crate::registry::{Answer, Query};

use super::*;

fn header(session: &SessionId, target: Target) -> HeadersSet {
    HeadersSet { session: session.clone(), target, name: HeaderKey::parse("x-a").unwrap(), value: "1".into() }
}

fn listed(world: &World, session: &SessionId) -> Vec<(String, RouteStatus)> {
    let Ok(Answer::Routes(routes)) = world.ask(&Query::RouteList(session.clone())) else { panic!() };
    routes.into_iter().map(|route| (route.route_id.to_string(), route.status)).collect()
}

#[test]
fn nothing_staged_is_active_before_an_apply() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    assert_eq!(world.add(&session, "shop.example", "/"), RouteId(1));
    assert!(world.session(&session).active.routes.is_empty());
    assert_eq!(listed(&world, &session), [("r1".into(), RouteStatus::Staged)]);
    world.apply(&session).unwrap();
    assert_eq!(listed(&world, &session), [("r1".into(), RouteStatus::Active)]);
}

#[test]
fn an_active_route_with_a_staged_edit_is_listed_twice() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    world.add(&session, "shop.example", "/");
    world.add(&session, "shop.example", "/b");
    world.apply(&session).unwrap();
    world.update(&session, RouteId(1), RouteField::Priority(5)).unwrap();
    world.remove(&session, RouteId(2)).unwrap();
    let expected = [RouteStatus::Active, RouteStatus::Staged, RouteStatus::PendingRemoval];
    assert_eq!(listed(&world, &session).into_iter().map(|(_, status)| status).collect::<Vec<_>>(), expected);
}

#[test]
fn a_route_id_is_never_used_again() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let first = world.add(&session, "shop.example", "/");
    world.remove(&session, first).unwrap();
    assert_eq!(world.add(&session, "shop.example", "/"), RouteId(2));
    world.rollback(&session).unwrap();
    assert_eq!(world.add(&session, "shop.example", "/"), RouteId(3));
}

#[test]
fn a_bulk_is_numbered_in_its_order_and_taken_whole_or_not() {
    let mut world = World::new();
    world.limits.routes_per_session_max = 3;
    let session = world.register("shop", "shop-1", 1);
    let routes = vec![route("a.example", "/"), route("b.example", "/")];
    let bulk = RouteAddBulk { session: session.clone(), routes };
    assert_eq!(world.run(bulk.clone()), Ok(Reply::RoutesAdded(vec![RouteId(1), RouteId(2)])));
    assert_eq!(world.run(bulk).unwrap_err().kind(), Kind::Limited);
    assert_eq!(world.session(&session).edited().routes.len(), 2);
}

#[test]
fn removing_a_route_removes_what_is_set_for_it() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let id = world.add(&session, "shop.example", "/");
    world.run(header(&session, Target::Route(id))).unwrap();
    world.apply(&session).unwrap();
    world.remove(&session, id).unwrap();
    world.apply(&session).unwrap();
    assert!(world.session(&session).active.headers.is_empty());
}

#[test]
fn a_setting_needs_a_route_that_exists() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let refused = world.run(header(&session, Target::Route(RouteId(9)))).unwrap_err();
    assert_eq!((refused.kind(), refused.to_string().as_str()), (Kind::NotFound, "no route r9 in this session"));
    assert!(world.session(&session).staged.is_none(), "nothing is staged by a refusal");
}

#[test]
fn removing_a_header_that_is_not_set_is_no_error() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let name = HeaderKey::parse("x-a").unwrap();
    world.run(HeadersRemove { session: session.clone(), target: Target::All, name }).unwrap();
    assert!(world.session(&session).difference().is_empty());
}

#[test]
fn a_known_option_checks_its_value_and_an_unknown_one_is_warned_of() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let set = |key: &str, value: &str| OptionsSet {
        session: session.clone(),
        target: Target::All,
        key: OptionKey::parse(key).unwrap(),
        value: value.into(),
    };
    assert!(said(world.run(set("timeout", "soon"))).starts_with("timeout: "));
    world.run(set("foo", "bar")).unwrap();
    let Ok(Answer::Diff(diff)) = world.ask(&Query::ConfigDiff(session.clone())) else { panic!() };
    assert_eq!(diff.warnings, ["options: unknown key foo"]);
    world.run(set("tiemout", "5s")).unwrap();
    let Ok(Answer::Valid(warnings)) = world.ask(&Query::ConfigValidate(session.clone())) else { panic!() };
    assert!(warnings.contains(&"options: unknown key tiemout; did you mean timeout?".to_owned()), "{warnings:?}");
    world
        .run(OptionsRemove { session: session.clone(), target: Target::All, key: OptionKey::parse("tiemout").unwrap() })
        .unwrap();
    assert_eq!(diff.options.added, 1);
}

#[test]
fn an_update_of_a_route_staged_for_removal_is_refused() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let id = world.add(&session, "shop.example", "/");
    world.apply(&session).unwrap();
    world.remove(&session, id).unwrap();
    let backend = BackendUrl::parse("http://b").unwrap();
    assert!(said(world.update(&session, id, RouteField::Backend(backend))).contains("staged for removal"));
}

#[test]
fn staged_changes_that_nobody_touches_are_dropped_with_an_event() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    world.add(&session, "shop.example", "/");
    let before = world.now;
    world.pass(Span::from_secs(30 * 60 - 1));
    world.expire(&session, before);
    assert!(world.session(&session).staged.is_some());
    world.pass(Span::from_secs(1));
    world.expire(&session, before);
    assert!(world.session(&session).staged.is_none());
    assert_eq!(world.events, [Event::StagedConfigExpired]);
}

#[test]
fn several_fields_of_a_route_change_together() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let id = world.add(&session, "shop.example", "/");
    let path = crate::domain::PathPrefix::parse("/b").unwrap();
    world.update(&session, id, RouteField::Several(vec![RouteField::Priority(5), RouteField::Path(path)])).unwrap();
    let route = world.session(&session).edited().routes[&id].clone();
    assert_eq!((route.priority, route.path.as_str()), (5, "/b"));
}
