//! Applies that wait for their confirmation: confirmed, cancelled, overdue and guarded.

use std::collections::BTreeMap;

use super::*;
use crate::domain::{ConfirmWithin, Confirmation, ConfirmationId, Failures, Kind, Subject};
use crate::registry::commands::{
    ClientShutdown, ConfigCancel, ConfigConfirm, ConfirmRequest, ConfirmationView, GuardTripped,
};
use crate::registry::revisions::RevisionAction;

const WITHIN: Span = Span::from_secs(60);

/// Applies what is staged, to be confirmed within a minute.
fn apply(world: &mut World, session: &SessionId) -> Result<ConfirmationView, Error> {
    world.nonce += 1;
    let confirm = ConfirmRequest {
        within: ConfirmWithin::new(WITHIN).unwrap(),
        nonce: world.nonce,
        guard: Some(BTreeMap::new()),
    };
    let subject = Subject::from(session.clone());
    let confirm = Some(confirm);
    let reply = world.run(ConfigApply { subject, sections: Sections::ALL, expected: None, reason: None, confirm })?;
    let Reply::Applied(view) = reply else { panic!("{reply:?}") };
    Ok(view.confirmation.expect("something was staged"))
}

fn waits(world: &World, session: &SessionId) -> Option<Arc<Confirmation>> {
    world.session(session).confirmation.clone()
}

fn id(view: &ConfirmationView) -> ConfirmationId {
    ConfirmationId::restore(&view.id)
}

fn domains(world: &World, session: &SessionId) -> Vec<String> {
    world.session(session).active.routes.values().map(|route| route.domains[0].to_string()).collect()
}

/// A session whose route b.example waits for a confirmation; a.example was there before.
fn waiting() -> (World, SessionId, ConfirmationView) {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    world.add(&session, "a.example", "/");
    world.apply(&session).unwrap();
    world.add(&session, "b.example", "/");
    let view = apply(&mut world, &session).unwrap();
    assert_eq!((view.number, view.reverts_to, view.until), (2, 1, world.now.after(WITHIN)));
    assert_eq!(domains(&world, &session), ["a.example", "b.example"], "it is active meanwhile");
    (world, session, view)
}

#[test]
fn a_confirmed_apply_stays() {
    let (mut world, session, view) = waiting();
    world.events.clear();
    world.run(ConfigConfirm { id: id(&view) }).unwrap();
    assert_eq!(world.events, [Event::ConfigConfirmed { number: 2 }]);
    let since = world.now;
    world.pass(WITHIN);
    world.expire(&session, since);
    assert_eq!(domains(&world, &session), ["a.example", "b.example"]);
    for command in [Command::from(ConfigConfirm { id: id(&view) }), ConfigCancel { id: id(&view) }.into()] {
        assert_eq!(world.run(command).unwrap_err().kind(), Kind::NotFound, "it is settled");
    }
}

#[test]
fn an_apply_that_nobody_confirms_is_taken_back_at_its_deadline_and_not_before() {
    let (mut world, session, _) = waiting();
    let since = world.now;
    world.pass(Span::from_millis(WITHIN.millis() - 1));
    world.expire(&session, since);
    assert!(waits(&world, &session).is_some());
    world.events.clear();
    world.pass(Span::from_millis(1));
    world.expire(&session, since);
    assert_eq!(domains(&world, &session), ["a.example"]);
    assert_eq!(world.session(&session).record.revision, 3, "taking back is a revision");
    let reason = "nobody confirmed it in time";
    let reverted = Event::ConfigReverted { number: 2, to: 1, reason: reason.into() };
    assert_eq!(world.events, [Event::ConfigApplied { revision: 3 }, reverted]);
    let draft = world.revisions.last().unwrap();
    assert_eq!((draft.mark.last, draft.note.action, draft.note.reverted_to), (3, RevisionAction::Unconfirmed, Some(1)));
    assert_eq!(draft.note.reason.as_ref().map(ToString::to_string).as_deref(), Some(reason));
    assert!(waits(&world, &session).is_none());
}

#[test]
fn a_cancelled_apply_is_taken_back_and_what_was_staged_meanwhile_stays_staged() {
    let (mut world, session, view) = waiting();
    world.add(&session, "c.example", "/");
    world.run(ConfigCancel { id: id(&view) }).unwrap();
    assert_eq!(domains(&world, &session), ["a.example"]);
    assert!(world.session(&session).staged.is_some());
    world.apply(&session).unwrap();
    assert_eq!(domains(&world, &session), ["a.example", "c.example"], "b.example does not come back with it");
}

#[test]
fn a_second_apply_and_a_revert_are_refused_with_the_id_while_one_waits() {
    let (mut world, session, view) = waiting();
    assert!(world.apply(&session).is_ok(), "nothing is staged");
    world.add(&session, "c.example", "/");
    let words = format!("revision 2 waits for its confirmation {}; CONFIG_CONFIRM or CONFIG_CANCEL it first", view.id);
    for refused in [world.apply(&session).unwrap_err(), apply(&mut world, &session).unwrap_err()] {
        assert_eq!((refused.kind(), refused.to_string()), (Kind::Refused, words.clone()));
    }
    world.rollback(&session).unwrap();
    let config = world.session(&session).active.clone();
    let revert = crate::registry::commands::ConfigRevert {
        subject: session.clone().into(),
        number: 1,
        history: 1,
        config,
        expected: None,
        reason: None,
    };
    assert_eq!(world.run(revert).unwrap_err().to_string(), words);
    assert_eq!(domains(&world, &session), ["a.example", "b.example"]);
}

#[test]
fn the_first_apply_of_a_session_is_taken_back_to_what_its_instance_served_before() {
    let mut world = World::new();
    let first = world.register("shop", "shop-1", 1);
    world.add(&first, "old.example", "/");
    world.apply(&first).unwrap();
    let second = world.register("shop", "shop-1", 2);
    world.add(&second, "new.example", "/");
    let view = apply(&mut world, &second).unwrap();
    assert_eq!((view.number, view.reverts_to), (2, 1));
    world.run(ConfigCancel { id: id(&view) }).unwrap();
    assert_eq!(domains(&world, &second), ["old.example"]);
    // Without one before, it is the empty configuration.
    let alone = world.register("till", "till-1", 3);
    world.add(&alone, "till.example", "/");
    let view = apply(&mut world, &alone).unwrap();
    assert_eq!((view.number, view.reverts_to), (1, 0));
    world.run(ConfigCancel { id: id(&view) }).unwrap();
    assert!(domains(&world, &alone).is_empty());
}

#[test]
fn a_confirmation_ends_with_its_session_and_with_the_first_apply_of_the_next() {
    let (mut world, session, view) = waiting();
    world.run(ClientShutdown { subject: session.into(), connection: None }).unwrap();
    assert_eq!(world.run(ConfigConfirm { id: id(&view) }).unwrap_err().kind(), Kind::NotFound);

    let (mut world, _, view) = waiting();
    let next = world.register("shop", "shop-1", 2);
    assert!(world.catalog.confirming(&id(&view)).is_some(), "its routes serve on, and it may still be confirmed");
    world.add(&next, "n.example", "/");
    world.apply(&next).unwrap();
    assert!(world.catalog.confirming(&id(&view)).is_none());
    assert_eq!(domains(&world, &next), ["n.example"]);
}

#[test]
fn a_replaced_session_is_taken_back_too_as_long_as_it_serves() {
    let (mut world, _, view) = waiting();
    let old = world.catalog.confirming(&id(&view)).unwrap().key;
    world.register("shop", "shop-1", 2);
    world.pass(WITHIN);
    world.run(Expire { key: old, since: Time(0) }).unwrap();
    let serving = world.catalog.by_key(old).expect("its grace is longer");
    assert_eq!(serving.active.routes.len(), 1);
    assert!(serving.confirmation.is_none());
}

#[test]
fn a_route_whose_place_is_taken_meanwhile_does_not_come_back_and_the_reason_says_so() {
    let mut world = World::new();
    let session = world.register("shop", "shop-1", 1);
    let gone = world.add(&session, "a.example", "/");
    world.add(&session, "b.example", "/");
    world.apply(&session).unwrap();
    world.remove(&session, gone).unwrap();
    let view = apply(&mut world, &session).unwrap();
    let other = world.register("till", "till-1", 2);
    world.add(&other, "a.example", "/");
    world.add(&other, "x.example", "/");
    world.apply(&other).unwrap();
    world.run(ConfigCancel { id: id(&view) }).unwrap();
    assert_eq!(domains(&world, &session), ["b.example"]);
    let told = world.events.iter().find_map(|event| match event {
        Event::ConfigReverted { reason, .. } => Some(reason.to_string()),
        _ => None,
    });
    assert_eq!(told.as_deref(), Some("cancelled by hand; another service holds the place of r1"));
    assert!(waits(&world, &session).is_none(), "and it is settled");
}

#[test]
fn a_guard_takes_back_what_it_watched_and_nothing_else() {
    let (mut world, session, view) = waiting();
    let key = world.session(&session).key;
    let guard = waits(&world, &session).unwrap().guard.clone().unwrap();
    assert_eq!(guard.routes.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [RouteId(2)], "only what was touched");
    assert_eq!(guard.before, Failures::default());
    let tripped =
        |id: &str| GuardTripped { key, id: ConfirmationId::restore(id), reason: "too many errors".to_owned() };
    world.run(tripped("another")).unwrap();
    assert!(waits(&world, &session).is_some());
    world.run(tripped(&view.id)).unwrap();
    assert_eq!(domains(&world, &session), ["a.example"]);
    assert_eq!(world.revisions.last().unwrap().note.action, RevisionAction::Guarded);
    assert_eq!(world.audit.last().unwrap().details.reason.as_deref(), Some("too many errors"));
}
