//! When something of a session falls due by itself: its grace, its staged changes, its drain.
//!
//! Pure: the writer asks for the next moment and sleeps on it beside its mailbox.

use std::collections::{BTreeSet, HashMap};

use crate::domain::{Session, SessionKey, Time};

use super::Limits;
use super::calls::Command;
use super::sessions::{Expire, ends_at};

/// One entry per session for which anything can fall due.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    queue: BTreeSet<(Time, SessionKey)>,
    entries: HashMap<SessionKey, Entry>,
}

#[derive(Debug)]
struct Entry {
    due: Time,
    /// What fell due until then has been seen to.
    seen: Time,
}

impl Deadlines {
    /// Looks at a session anew, as it is at `now`; `None` is a session that has ended.
    pub(super) fn set(&mut self, key: SessionKey, session: Option<&Session>, limits: &Limits, now: Time) {
        if let Some(old) = self.entries.remove(&key) {
            self.queue.remove(&(old.due, key));
        }
        let Some(due) = session.and_then(|session| due(session, limits, now)) else { return };
        self.queue.insert((due, key));
        self.entries.insert(key, Entry { due, seen: now });
    }

    /// The next moment at which something may fall due.
    pub(super) fn next(&self) -> Option<Time> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// The commands that see to what is due at `now`, `most` at once.
    pub(super) fn due(&self, now: Time, most: usize) -> Vec<Command> {
        let due = self.queue.iter().take_while(|(due, _)| *due <= now).take(most);
        due.filter_map(|(_, key)| {
            let since = self.entries.get(key)?.seen;
            Some(Expire { key: *key, since }.into())
        })
        .collect()
    }

    /// The sessions that [`Deadlines::due`] named, to be looked at anew.
    pub(super) fn due_keys(&self, now: Time, most: usize) -> Vec<SessionKey> {
        self.queue.iter().take_while(|(due, _)| *due <= now).take(most).map(|(_, key)| *key).collect()
    }
}

/// The earliest of what can fall due for a session after `now`.
fn due(session: &Session, limits: &Limits, now: Time) -> Option<Time> {
    let staged = session.staged.as_ref().map(|staged| staged.touched.after(limits.staged_ttl));
    let drained = session.head.drain.map(crate::domain::Drain::ends).filter(|at| *at > now);
    [ends_at(session, limits), staged, drained].into_iter().flatten().min()
}
