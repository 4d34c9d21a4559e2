//! Revisions: each apply that changes something makes one, and a revert makes another one with an earlier configuration.

use super::*;
use crate::domain::{Config, Kind};
use crate::registry::commands::{AppliedView, ConfigRevert, HeadersSet};
use crate::registry::revisions::RevisionAction;

/// Returns the number of the last revision of a session's instance.
fn last(world: &World, session: &SessionId) -> Option<u64> {
    let record = &world.session(session).record;
    world.catalog.history_of(&record.service, &record.instance).map(|mark| mark.last)
}

fn view(revision: u64, number: u64) -> AppliedView {
    AppliedView { revision, number: Some(number), confirmation: None }
}

fn revert(world: &mut World, session: &SessionId, number: u64, config: &Config) -> Result<AppliedView, Error> {
    let record = Arc::clone(&world.session(session).record);
    let mark = world.catalog.history_of(&record.service, &record.instance);
    let command = ConfigRevert {
        subject: session.clone().into(),
        number,
        history: mark.map_or(0, |mark| mark.id),
        config: config.clone(),
        expected: None,
        reason: None,
    };
    match world.run(command)? {
        Reply::Applied(view) => Ok(view),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_apply_that_changes_something_is_a_revision_of_its_instance() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    assert_eq!(last(&world, &session), None);
    world.apply(&session).unwrap();
    assert_eq!(last(&world, &session), None, "nothing was staged");
    world.add(&session, "a.example", "/");
    world.apply(&session).unwrap();
    world.apply(&session).unwrap();
    assert_eq!(last(&world, &session), Some(1));
    world.add(&session, "b.example", "/");
    world.apply_only(&session, "headers").unwrap();
    assert_eq!(last(&world, &session), Some(1), "nothing of this section was staged");
    assert_eq!(world.apply_only(&session, "routes").unwrap(), Reply::Applied(view(2, 2)));
    let drafts = &world.revisions;
    assert_eq!(
        drafts.iter().map(|draft| (draft.mark.last, draft.is_whole)).collect::<Vec<_>>(),
        [(1, true), (2, false)]
    );
    assert_eq!((drafts[1].changes.routes_added, drafts[1].edits.len()), (1, 1), "an apply costs what it changes");
}

#[test]
fn numbers_go_on_with_the_next_session_of_the_instance_while_the_revision_begins_anew() {
    let mut world = World::new();
    let first = world.register("shop", "shop-1", 1);
    world.add(&first, "a.example", "/");
    world.apply(&first).unwrap();
    let second = world.register("shop", "shop-1", 2);
    assert_eq!(last(&world, &second), Some(1));
    world.add(&second, "a.example", "/");
    let applied = world.apply(&second).unwrap();
    assert_eq!(applied, Reply::Applied(view(1, 2)));
    assert!(world.revisions[1].is_whole, "the session before has nothing to do with it");
    // An apply with nothing staged also ends what the session before served.
    let third = world.register("shop", "shop-1", 3);
    let applied = world.apply(&third).unwrap();
    assert_eq!(applied, Reply::Applied(view(0, 3)));
    assert!(world.revisions[2].is_whole && world.revisions[2].edits.is_empty());
    world.run(crate::registry::commands::ClientShutdown { subject: third.into(), connection: None }).unwrap();
    let fourth = world.register("shop", "shop-1", 4);
    assert_eq!(last(&world, &fourth), Some(3), "also when nothing was left of it");
}

#[test]
fn a_revert_restores_an_earlier_configuration_as_a_new_revision() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let route = world.add(&session, "a.example", "/");
    world.apply(&session).unwrap();
    let earlier = world.session(&session).active.clone();
    world.remove(&session, route).unwrap();
    let other = world.add(&session, "b.example", "/");
    let header = HeadersSet {
        session: session.clone(),
        target: crate::domain::Target::Route(other),
        name: crate::domain::HeaderKey::parse("x-a").unwrap(),
        value: "1".into(),
    };
    world.run(header).unwrap();
    world.apply(&session).unwrap();
    world.events.clear();
    let reverted = revert(&mut world, &session, 1, &earlier).unwrap();
    assert_eq!(reverted, view(3, 3));
    assert_eq!(world.session(&session).active, earlier);
    assert_eq!(world.events, [Event::ConfigApplied { revision: 3 }]);
    let draft = world.revisions.last().unwrap();
    assert_eq!((draft.note.action, draft.note.reverted_to), (RevisionAction::Reverted, Some(1)));
    let audit = world.audit.last().unwrap();
    assert_eq!(audit.action, crate::registry::audit::AuditAction::Reverted);
    assert_eq!((audit.details.number, audit.details.reverted_to), (Some(3), Some(1)));
    assert_eq!(world.add(&session, "c.example", "/"), RouteId(3), "route ids go on");
    world.rollback(&session).unwrap();
    let reverted = revert(&mut world, &session, 1, &earlier).unwrap();
    assert_eq!(reverted, view(3, 3), "it is so already");
}

#[test]
fn a_revert_loses_nothing_that_is_staged_and_restores_nothing_that_is_not_kept() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let nothing = revert(&mut world, &session, 1, &Config::default()).unwrap_err();
    assert_eq!(nothing.to_string(), "there is no revision 1; the instance has not applied anything yet");
    world.add(&session, "a.example", "/");
    world.apply(&session).unwrap();
    world.add(&session, "b.example", "/");
    let refused = revert(&mut world, &session, 1, &Config::default()).unwrap_err();
    assert_eq!(refused.kind(), Kind::Refused);
    assert!(refused.to_string().starts_with("something is staged"), "{refused}");
    assert_eq!(world.session(&session).edited().routes.len(), 2, "it is still there");
    world.apply(&session).unwrap();
    for number in [0, 3, 99] {
        let unknown = revert(&mut world, &session, number, &Config::default()).unwrap_err();
        assert_eq!(unknown.kind(), Kind::NotFound);
        assert!(unknown.to_string().contains("revisions 1 to 2 are kept"), "{unknown}");
    }
}

#[test]
fn a_revert_passes_the_checks_of_an_apply() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let route = world.add(&session, "a.example", "/");
    world.apply(&session).unwrap();
    let earlier = world.session(&session).active.clone();
    world.remove(&session, route).unwrap();
    world.apply(&session).unwrap();
    let other = world.register("till", "till-1", 2);
    world.add(&other, "a.example", "/");
    world.apply(&other).unwrap();
    let conflict = revert(&mut world, &session, 1, &earlier).unwrap_err();
    assert_eq!(conflict.kind(), Kind::Conflict);
    assert!(conflict.to_string().contains("is held by service till"), "{conflict}");
    let stale = ConfigRevert {
        subject: session.clone().into(),
        number: 1,
        history: 1,
        config: earlier,
        expected: Some(vec![1]),
        reason: None,
    };
    assert_eq!(world.run(stale).unwrap_err().kind(), Kind::Stale);
    assert_eq!(last(&world, &session), Some(2), "a refusal makes no revision");
}

#[test]
fn the_histories_of_instances_that_are_gone_are_bounded() {
    let mut world = World::new();
    for number in 0..1_100 {
        let session = world.register("job", &format!("job-{number}"), number);
        world.add(&session, &format!("h{number}.example"), "/");
        world.apply(&session).unwrap();
        world.run(crate::registry::commands::ClientShutdown { subject: session.into(), connection: None }).unwrap();
    }
    assert!(world.catalog.histories_len() <= 1_002, "{}", world.catalog.histories_len());
    let again = world.register("job", "job-1099", 1);
    assert_eq!(last(&world, &again), Some(1), "the latest are kept");
}
