//! All sessions and the indexes over them, at one revision.
//!
//! Persistent maps: a clone shares everything, and changing the clone copies only the path to what changes.
//! [`Catalog::absorb`] is the only way it changes.

mod confirmations;
mod histories;
mod revisions;
mod sweep;

use std::ops::Bound;
use std::sync::Arc;

use confirmations::Confirmations;
use histories::Histories;
use imbl::{HashMap, OrdMap};

use super::{
    Change, Claim, Claimants, Config, ConnectionId, Edit, Error, InstanceName, Origin, Route, ServiceName, Session,
    SessionId, SessionKey, SessionRecord, Staged, Subject, Ticket, Time, TokenName,
};

/// All sessions and the indexes over them.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    revision: u64,
    last_key: u64,
    last_ticket: u64,
    sessions: OrdMap<SessionKey, Arc<Session>>,
    ids: HashMap<SessionId, SessionKey>,
    instances: OrdMap<(ServiceName, InstanceName), SessionKey>,
    replaced: OrdMap<(ServiceName, InstanceName), SessionKey>,
    bound: HashMap<ConnectionId, SessionKey>,
    origins: HashMap<Origin, usize>,
    claims: HashMap<Claim, Claimants>,
    /// The number of sessions per registration token, without replaced ones.
    tokens: HashMap<TokenName, usize>,
    routes_active: usize,
    histories: Histories,
    confirmations: Confirmations,
}

impl Catalog {
    /// Returns the revision: the number of changes of sessions and active configurations, and of events. It is stored
    /// with them and never decreases.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns the session that has the id `id`. Sessions of operators and files have no id that counts.
    ///
    /// # Errors
    /// `NotFound` when no session has the id, or the session has ended or been replaced.
    pub fn session(&self, id: &str) -> Result<&Arc<Session>, Error> {
        let session = self.ids.get(id).and_then(|key| self.sessions.get(key));
        let has_client = |session: &&Arc<Session>| !session.record.owner.is_permanent();
        let session = session.filter(has_client).ok_or(Error::invalid_session())?;
        if session.record.replaced.is_some() { Err(Error::replaced_session()) } else { Ok(session) }
    }

    /// Returns the session that a command is about.
    ///
    /// # Errors
    /// `NotFound` when there is none.
    pub fn subject(&self, subject: &Subject) -> Result<&Arc<Session>, Error> {
        match subject {
            Subject::Session(id) => self.session(id.reveal()),
            Subject::Instance(service, instance) => {
                self.of_instance(service, instance).ok_or_else(|| Error::no_instance(service, instance))
            }
        }
    }

    /// Returns the current sessions of all instances behind `after`, ordered by service and instance.
    pub fn instances(&self, after: Option<(ServiceName, InstanceName)>) -> impl Iterator<Item = &Arc<Session>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.instances.range((from, Bound::Unbounded)).filter_map(|(_, key)| self.sessions.get(key))
    }

    /// Returns the session with the key `key`. Replaced sessions count.
    pub fn by_key(&self, key: SessionKey) -> Option<&Arc<Session>> {
        self.sessions.get(&key)
    }

    /// Returns the current session of an instance.
    pub fn of_instance(&self, service: &ServiceName, instance: &InstanceName) -> Option<&Arc<Session>> {
        self.instances.get(&(service.clone(), instance.clone())).and_then(|key| self.sessions.get(key))
    }

    /// Returns the replaced session of an instance, whose routes still serve.
    pub fn replaced_of(&self, record: &SessionRecord) -> Option<SessionKey> {
        self.replaced.get(&(record.service.clone(), record.instance.clone())).copied()
    }

    /// Returns the session that is bound to a connection.
    pub fn bound_to(&self, connection: ConnectionId) -> Option<&Arc<Session>> {
        self.bound.get(&connection).and_then(|key| self.sessions.get(key))
    }

    /// Returns all sessions from the key `first` on, oldest first. Replaced sessions count.
    pub fn sessions_from(&self, first: SessionKey) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions.range(first..).map(|(_, session)| session)
    }

    /// Returns all sessions, oldest first. Replaced sessions count.
    pub fn sessions(&self) -> impl Iterator<Item = &Arc<Session>> {
        self.sessions.values()
    }

    /// Returns the number of sessions. Replaced sessions count.
    pub fn sessions_len(&self) -> usize {
        self.sessions.len()
    }

    /// Returns the number of sessions that registered with a token, without replaced ones.
    pub fn sessions_under(&self, token: &TokenName) -> usize {
        self.tokens.get(token).copied().unwrap_or(0)
    }

    /// Returns the number of sessions that registered from an origin. Replaced sessions count.
    pub fn sessions_from_origin(&self, origin: Origin) -> usize {
        self.origins.get(&origin).copied().unwrap_or_default()
    }

    /// Returns the number of active routes.
    pub fn routes_len(&self) -> usize {
        self.routes_active
    }

    /// Returns the holders of a claim.
    pub fn claimants(&self, claim: &Claim) -> Option<&Claimants> {
        self.claims.get(claim)
    }

    /// Returns the key of the next session.
    pub fn next_key(&self) -> SessionKey {
        SessionKey(self.last_key + 1)
    }

    /// Returns the ticket of the next maintenance request.
    pub fn next_ticket(&self) -> Ticket {
        Ticket(self.last_ticket + 1)
    }

    /// Continues after a restart: sets the stored revision, and sets every session as disconnected since `now`.
    pub fn resume(&mut self, revision: u64, now: Time) {
        self.revision = revision;
        let keys: Vec<SessionKey> = self.sessions.keys().copied().collect();
        for key in keys {
            self.alter(key, |session| {
                session.unbound_at = now;
                session.last_activity.touch(now);
                if let Some(staged) = &mut session.staged {
                    staged.touched = now;
                }
            });
        }
    }

    /// Takes in a change that a command decided on or that the store kept.
    pub fn absorb(&mut self, change: &Change) {
        match change {
            Change::Record(key, record) => self.put_record(*key, record),
            Change::End(key) => self.end(*key),
            Change::Stage { key, edit, at } => self.stage(*key, edit, *at),
            Change::Unstage(key) => self.alter(*key, |session| session.staged = None),
            Change::Apply { key, edits, .. } => self.apply(*key, edits),
            Change::Bind(key, connection) => self.bind(*key, *connection),
            Change::Unbind(key, at) => self.unbind(*key, *at),
            Change::Await(key, pending) => {
                self.last_ticket = self.last_ticket.max(pending.ticket.0);
                self.alter(*key, |session| session.pending.push(pending.clone()));
            }
            Change::Complete(key, ticket) => {
                self.alter(*key, |session| session.pending.retain(|pending| pending.ticket != *ticket));
            }
            Change::Observed(_) => {}
            Change::Remember(mark) => {
                let has_session = self.has_session(&(mark.service.clone(), mark.instance.clone()));
                self.histories.remember(mark, has_session);
            }
            Change::Forget(mark) => self.histories.forget(mark),
            Change::AwaitConfirmation(key, confirmation) => {
                self.confirmations.add(*key, confirmation);
                self.alter(*key, |session| session.confirmation = Some(Arc::clone(confirmation)));
            }
            Change::Settle(key) => {
                let settled = self.sessions.get(key).and_then(|session| session.confirmation.clone());
                settled.iter().for_each(|confirmation| self.confirmations.remove(*key, confirmation));
                self.alter(*key, |session| session.confirmation = None);
            }
        }
        if change.moves_revision() {
            self.revision += 1;
        }
    }

    fn has_session(&self, instance: &(ServiceName, InstanceName)) -> bool {
        self.instances.contains_key(instance) || self.replaced.contains_key(instance)
    }

    fn alter(&mut self, key: SessionKey, change: impl FnOnce(&mut Session)) {
        if let Some(session) = self.sessions.get_mut(&key) {
            change(Arc::make_mut(session));
        }
    }

    fn put_record(&mut self, key: SessionKey, record: &Arc<SessionRecord>) {
        self.last_key = self.last_key.max(key.0);
        let instance = (record.service.clone(), record.instance.clone());
        self.ids.insert(record.id.clone(), key);
        self.histories.opened(&instance);
        if record.replaced.is_some() {
            self.replaced.insert(instance, key);
            self.unbind(key, record.connected_at);
        } else {
            self.instances.insert(instance, key);
        }
        self.count_token(record, 1);
        if let Some(session) = self.sessions.get_mut(&key) {
            let old = std::mem::replace(&mut Arc::make_mut(session).record, Arc::clone(record));
            self.count_token(&old, -1);
            return;
        }
        if let Some(origin) = record.origin {
            *self.origins.entry(origin).or_default() += 1;
        }
        self.sessions.insert(key, Arc::new(Session::new(key, Arc::clone(record))));
    }

    fn count_token(&mut self, record: &SessionRecord, by: isize) {
        let Some(token) = record.token.as_ref().filter(|_| record.replaced.is_none()) else { return };
        let count = self.sessions_under(token).saturating_add_signed(by);
        if count == 0 {
            self.tokens.remove(token);
        } else {
            self.tokens.insert(token.clone(), count);
        }
    }

    fn end(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.remove(&key) else { return };
        self.count_token(&session.record, -1);
        session.confirmation.iter().for_each(|confirmation| self.confirmations.remove(key, confirmation));
        self.ids.remove(&session.record.id);
        let instance = (session.record.service.clone(), session.record.instance.clone());
        for index in [&mut self.instances, &mut self.replaced] {
            if index.get(&instance) == Some(&key) {
                index.remove(&instance);
            }
        }
        if !self.has_session(&instance) {
            self.histories.ended(&instance);
        }
        if let Some(connection) = session.bound {
            self.bound.remove(&connection);
        }
        if let Some(origin) = session.record.origin {
            match self.sessions_from_origin(origin) {
                0 | 1 => self.origins.remove(&origin),
                more => self.origins.insert(origin, more - 1),
            };
        }
        for route in session.active.routes.values() {
            self.unclaim(key, route);
        }
        self.routes_active -= session.active.routes.len();
    }

    fn stage(&mut self, key: SessionKey, edit: &Edit, at: Time) {
        self.alter(key, |session| {
            if let Edit::Route(id, _) = edit
                && session.record.next_route <= id.0
            {
                Arc::make_mut(&mut session.record).next_route = id.0 + 1;
            }
            let active = &session.active;
            let staged = session.staged.get_or_insert_with(|| Staged { config: active.clone(), touched: at });
            staged.config.edit(edit);
            staged.touched = at;
        });
    }

    fn apply(&mut self, key: SessionKey, edits: &[Edit]) {
        let Some(mut session) = self.sessions.get(&key).cloned() else { return };
        let before = session.active.routes.len();
        {
            let session = Arc::make_mut(&mut session);
            for edit in edits {
                self.apply_one(key, &mut session.active, edit);
                if let Edit::Route(id, _) = edit
                    && session.record.next_route <= id.0
                {
                    Arc::make_mut(&mut session.record).next_route = id.0 + 1;
                }
            }
            if session.staged.as_ref().is_some_and(|staged| session.active.difference(&staged.config).is_empty()) {
                session.staged = None;
            }
        }
        self.routes_active = self.routes_active + session.active.routes.len() - before;
        self.sessions.insert(key, session);
    }

    fn apply_one(&mut self, key: SessionKey, active: &mut Config, edit: &Edit) {
        if let Edit::Route(id, route) = edit {
            if let Some(old) = active.routes.get(id).cloned() {
                self.unclaim(key, &old);
            }
            if let Some(new) = route {
                self.claim(key, new);
            }
        }
        active.edit(edit);
    }

    fn claim(&mut self, key: SessionKey, route: &Route) {
        let Some(service) = self.sessions.get(&key).map(|session| session.record.service.clone()) else { return };
        for claim in route.claims() {
            let held = self.claims.get(&claim).map_or(&[][..], |claimants| &claimants.routes);
            let routes = held.iter().copied().chain([(key, route.id)]).collect();
            self.claims.insert(claim, Claimants { service: service.clone(), routes });
        }
    }

    fn unclaim(&mut self, key: SessionKey, route: &Route) {
        for claim in route.claims() {
            let Some(claimants) = self.claims.get(&claim) else { continue };
            let left: Arc<[_]> = claimants.routes.iter().copied().filter(|held| *held != (key, route.id)).collect();
            let service = claimants.service.clone();
            if left.is_empty() {
                self.claims.remove(&claim);
            } else {
                self.claims.insert(claim, Claimants { service, routes: left });
            }
        }
    }

    fn bind(&mut self, key: SessionKey, connection: ConnectionId) {
        // A connection is bound to one session at most, and a session to one connection.
        if let Some(first) = self.bound.insert(connection, key)
            && first != key
        {
            self.alter(first, |session| session.bound = None);
        }
        let Some(last) = self.sessions.get(&key).map(|session| session.bound) else { return };
        if let Some(last) = last
            && last != connection
        {
            self.bound.remove(&last);
        }
        self.alter(key, |session| session.bound = Some(connection));
    }

    fn unbind(&mut self, key: SessionKey, at: Time) {
        let Some(connection) = self.sessions.get(&key).and_then(|session| session.bound) else { return };
        self.bound.remove(&connection);
        self.alter(key, |session| {
            session.bound = None;
            session.unbound_at = at;
        });
    }
}
