//! The deadlines of sessions: the ends of their leases, with a warning before, of staged changes and of drains.
//!
//! This code reads no clock. The writer asks for the next deadline and sleeps until then, beside its queue.

use std::collections::{BTreeSet, HashMap};

use crate::domain::{Catalog, Lease, Session, SessionKey, Time};

use crate::registry::commands::sessions::Expire;
use crate::registry::leases::{ends_at, warns_at};
use crate::registry::limits::RegistryLimits;

/// The deadlines, with one entry for each session that has any.
#[derive(Debug, Default)]
pub(in crate::registry) struct Deadlines {
    queue: BTreeSet<(Time, SessionKey)>,
    entries: HashMap<SessionKey, SessionDeadline>,
}

#[derive(Debug)]
struct SessionDeadline {
    due: Time,
    /// Everything that was due at this time or earlier has been handled.
    seen: Time,
}

impl Deadlines {
    /// Updates the entry of a session from its state at `now`; `None` means that the session has ended. A deadline
    /// that is due and not yet handled stays due.
    pub(in crate::registry) fn set(
        &mut self,
        key: SessionKey,
        session: Option<&Session>,
        limits: &RegistryLimits,
        now: Time,
    ) {
        let seen = self.entries.get(&key).map_or(now, |entry| entry.seen);
        self.put(key, session, limits, seen);
    }

    /// Updates the entry of a session after everything that was due at `now` has been handled.
    pub(in crate::registry) fn pass(
        &mut self,
        key: SessionKey,
        session: Option<&Session>,
        limits: &RegistryLimits,
        now: Time,
    ) {
        self.put(key, session, limits, now);
    }

    fn put(&mut self, key: SessionKey, session: Option<&Session>, limits: &RegistryLimits, seen: Time) {
        if let Some(old) = self.entries.remove(&key) {
            self.queue.remove(&(old.due, key));
        }
        let Some(due) = session.and_then(|session| due(session, limits, seen)) else { return };
        self.queue.insert((due, key));
        self.entries.insert(key, SessionDeadline { due, seen });
    }

    /// Returns the next time at which something may be due.
    pub(in crate::registry) fn next(&self) -> Option<Time> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// Returns at most `most` of the entries that are due at `now`.
    pub(in crate::registry) fn due(&self, now: Time, most: usize) -> Vec<Expire> {
        let due = self.queue.iter().take_while(|(due, _)| *due <= now).take(most);
        due.filter_map(|(_, key)| Some(Expire { key: *key, since: self.entries.get(key)?.seen })).collect()
    }

    /// Makes the entry of a session due at `until`.
    pub(in crate::registry) fn postpone(&mut self, key: SessionKey, until: Time) {
        if let Some(entry) = self.entries.get_mut(&key) {
            self.queue.remove(&(entry.due, key));
            entry.due = until;
            self.queue.insert((until, key));
        }
    }
}

impl Deadlines {
    /// Returns the first difference between the queue, its entries and the sessions of a catalog. For checks.
    pub(in crate::registry) fn disagreement(&self, catalog: &Catalog) -> Option<String> {
        if self.queue.len() != self.entries.len() {
            return Some(format!("{} deadlines are queued for {} sessions", self.queue.len(), self.entries.len()));
        }
        let lost = |(key, entry): &(&SessionKey, &SessionDeadline)| {
            catalog.by_key(**key).is_none() || !self.queue.contains(&(entry.due, **key))
        };
        if let Some((key, entry)) = self.entries.iter().find(lost) {
            return Some(format!("the deadline {entry:?} of session {key:?} has no session or is not queued"));
        }
        let can_end = |session: &Session| {
            let expires = session.bound.is_none() && session.record.lease != Some(Lease::Permanent);
            session.record.replaced.is_some() || expires || session.staged.is_some() || session.confirmation.is_some()
        };
        let mut sessions = catalog.sessions().filter(|session| can_end(session));
        let missed = sessions.find(|session| !self.entries.contains_key(&session.key));
        missed.map(|session| format!("session {:?} has no deadline", session.key))
    }
}

/// Returns the earliest deadline of a session after `seen`.
fn due(session: &Session, limits: &RegistryLimits, seen: Time) -> Option<Time> {
    let staged = session.staged.as_ref().map(|staged| staged.touched.after(limits.staged_ttl));
    let drained = session.record.drain.map(crate::domain::Drain::ends).filter(|at| *at > seen);
    let warning = warns_at(session, limits).filter(|at| *at > seen);
    let confirmed = session.confirmation.as_ref().map(|waits| waits.until);
    [ends_at(session, limits), warning, staged, drained, confirmed].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{ConnectionId, Drain, InstanceName, ServiceName, SessionRecord, Span};

    fn session() -> Session {
        let (service, instance) = (ServiceName::parse("shop").unwrap(), InstanceName::parse("shop-1").unwrap());
        let record = SessionRecord::opened(service, instance, 0, Time(1_000));
        Session::new(SessionKey(1), Arc::new(record))
    }

    #[test]
    fn a_session_without_connection_is_due_a_minute_before_its_grace_ends_and_then_and_a_bound_one_never() {
        let (mut deadlines, limits, mut session) = (Deadlines::default(), RegistryLimits::default(), session());
        deadlines.set(session.key, Some(&session), &limits, Time(1_000));
        let (warning, end) = (Time(241_000), Time(1_000).after(limits.grace));
        assert_eq!(deadlines.next(), Some(warning));
        deadlines.pass(session.key, Some(&session), &limits, warning);
        assert_eq!(deadlines.next(), Some(end));
        assert!(deadlines.due(Time(2_000), 10).is_empty());
        session.bound = Some(ConnectionId(1));
        deadlines.set(session.key, Some(&session), &limits, Time(2_000));
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_postponed_deadline_is_due_again_and_not_yet_handled() {
        let (mut deadlines, limits, session) = (Deadlines::default(), RegistryLimits::default(), session());
        deadlines.set(session.key, Some(&session), &limits, Time(1_000));
        let due = Time(1_000).after(limits.grace);
        let later = due.after(Span::from_secs(1));
        deadlines.postpone(session.key, later);
        assert!(deadlines.due(due, 10).is_empty());
        assert_eq!(deadlines.due(later, 10).first().map(|expire| expire.since), Some(Time(1_000)));
    }

    #[test]
    fn a_change_of_a_session_does_not_make_up_for_a_drain_that_has_ended() {
        let (mut deadlines, limits, mut session) = (Deadlines::default(), RegistryLimits::default(), session());
        session.bound = Some(ConnectionId(1));
        let drain = Drain { started: Time(2_000), span: Span::from_millis(1), by_operator: false };
        session.record = Arc::new(SessionRecord { drain: Some(drain), ..SessionRecord::clone(&session.record) });
        deadlines.set(session.key, Some(&session), &limits, drain.started);
        deadlines.set(session.key, Some(&session), &limits, Time(2_005));
        assert_eq!(deadlines.due(Time(2_005), 10).first().map(|expire| expire.since), Some(drain.started));
        deadlines.pass(session.key, Some(&session), &limits, Time(2_005));
        assert_eq!(deadlines.next(), None, "once it was seen to");
    }
}
