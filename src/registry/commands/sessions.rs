//! Commands that open, bind and end sessions, subscribe them to events, and handle their deadlines.

use std::sync::Arc;

use crate::domain::{
    Catalog, Change, ConnectionId, Error, Event, InstanceName, Kind, Lease, Metadata, Origin, Secret, ServiceName,
    Session, SessionId, SessionKey, SessionRecord, Subject, Time, Topics,
};

use crate::registry::audit::{AuditAction, AuditDetails};
use crate::registry::leases::{check_lease, ends_at, in_force, lease_of, warns_at};
use crate::registry::limits::RegistryLimits;
use crate::registry::registration_tokens::AdmittedRegistration;
use crate::registry::revisions::RevisionAction;

use super::apply::unstage;
use super::confirm::take_back;
use super::decision::{Decided, Decision, DecisionContext, Effect, Release, Reply};
use super::holder::{check_not_owned, held_by_file};
use super::takeover::inherited;

/// Opens a session for an instance, and replaces the session that the instance has.
#[derive(Clone, Debug)]
pub struct Register {
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// The port of the maintenance page, which the client reports.
    pub maintenance_port: u16,
    /// The metadata, which the client reports.
    pub metadata: Metadata,
    /// 128 random bits: the secret part of the new session id.
    pub nonce: u128,
    /// The connection to bind; `None` if the caller has no lasting one.
    pub connection: Option<ConnectionId>,
    /// The registration token, if it is not part of the metadata.
    pub token: Option<Secret>,
    /// The origin of the client, if it is known.
    pub origin: Option<Origin>,
    /// The lease, if it is not part of the metadata.
    pub lease: Option<Lease>,
}

impl Register {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let AdmittedRegistration { metadata, token } =
            context.tokens.check_registration(&self.service, &self.metadata, self.token.as_ref())?;
        let (metadata, written) = metadata.without_lease()?;
        let lease = self.lease.or(written);
        check_lease(lease, token, context.limits)?;
        let opened = SessionRecord::opened(self.service.clone(), self.instance.clone(), self.nonce, context.now);
        let old = catalog.of_instance(&self.service, &self.instance);
        old.map_or(Ok(()), |old| check_not_owned(old))?;
        if let Some(token) = token {
            // The instance may also have an older replaced session that still serves; the first apply of the new
            // session ends it.
            let serving = catalog.replaced_of(&opened).and_then(|key| catalog.by_key(key));
            old.into_iter().chain(serving).try_for_each(|old| token.check_replacement(old))?;
            token.check_session_room(catalog, old.map(|old| &**old))?;
        }
        let mut decided = release_connection(catalog, self.connection, context.now);
        match old {
            Some(old) => {
                decided.changes.extend(take_over(catalog, old, context));
                let until = context.now.after(context.limits.grace);
                let details = AuditDetails::of_routes(old).until(until);
                decided = decided.with_audit(old.key, AuditAction::Replaced, details);
                let other = old.bound.filter(|bound| Some(*bound) != self.connection);
                decided.effects.extend(other.map(|other| Effect::Released(other, Release::Replaced)));
            }
            None => self.check_room(catalog, context.limits)?,
        }
        // At most as many histories become surplus as sessions end, and each of those was registered.
        decided.changes.extend(catalog.surplus_history().cloned().map(Change::Forget));
        let token = token.map(|token| token.name.clone());
        let token_name = token.as_ref().map(ToString::to_string);
        let kept = in_force(lease, context.limits).to_string();
        let details = AuditDetails { token_name, ..AuditDetails::default() }.lease(kept);
        // An operator's order stays with the instance; a client's request ends with its session.
        let drain = old.and_then(|old| old.record.drain).filter(|drain| drain.by_operator);
        let maintenance = old.map(|old| inherited(old)).unwrap_or_default();
        let (maintenance_port, origin) = (self.maintenance_port, self.origin);
        let record = SessionRecord { maintenance_port, metadata, drain, maintenance, token, origin, lease, ..opened };
        let key = catalog.next_key();
        decided.reply = Reply::Registered(record.id.clone());
        decided.changes.push(Change::Record(key, Arc::new(record)));
        decided.changes.extend(self.connection.map(|connection| Change::Bind(key, connection)));
        Ok(decided.with_event(key, Event::InstanceRegistered).with_audit(key, AuditAction::Registered, details))
    }
}

impl Register {
    /// Refuses the session if a bound is reached: that of all sessions, or that of the client's address.
    fn check_room(&self, catalog: &Catalog, limits: &RegistryLimits) -> Result<(), Error> {
        let most = limits.sessions_max;
        if catalog.sessions_len() >= most {
            return Err(Error::new(Kind::Limited, format!("too many sessions (limit {most}); try again later")));
        }
        match self.origin.zip(limits.sessions_per_origin_max) {
            Some((origin, most)) if catalog.sessions_from_origin(origin) >= most => {
                let advice = "end some, or have limits.sessions_per_address raised";
                let message = format!("too many sessions from {origin} (limit {most}); {advice}");
                Err(Error::new(Kind::Limited, message))
            }
            _ => Ok(()),
        }
    }
}

/// Retires the session of an instance that registers again. Its routes, if it has any, serve until the new session's
/// first apply, at most for the grace period. Each registration begins this period again, so that even a container that
/// restarts twice causes no gap.
fn take_over(catalog: &Catalog, old: &Session, context: DecisionContext<'_>) -> Vec<Change> {
    let until = context.now.after(context.limits.grace);
    if !old.active.routes.is_empty() {
        let unstage = old.staged.is_some().then_some(Change::Unstage(old.key));
        return unstage.into_iter().chain([retire(old, until)]).collect();
    }
    let still_serving = catalog.replaced_of(&old.record).and_then(|key| catalog.by_key(key));
    let extended = still_serving.map(|serving| retire(serving, until));
    [Change::End(old.key)].into_iter().chain(extended).collect()
}

fn retire(session: &Session, until: Time) -> Change {
    let record = SessionRecord { replaced: Some(until), ..SessionRecord::clone(&session.record) };
    Change::Record(session.key, Arc::new(record))
}

/// Disconnects the session that the connection is bound to, because the connection binds another one or ends.
fn release_connection(catalog: &Catalog, connection: Option<ConnectionId>, now: Time) -> Decided {
    let nothing = Decided::new(Reply::Done, Vec::new());
    match connection.and_then(|connection| catalog.bound_to(connection)) {
        None => nothing,
        Some(session) => Decided { changes: vec![Change::Unbind(session.key, now)], ..nothing }
            .with_event(session.key, Event::InstanceDisconnected)
            .with_audit(session.key, AuditAction::Disconnected, AuditDetails::of_routes(session)),
    }
}

/// Binds a connection, if the caller has a lasting one, to an existing session.
#[derive(Clone, Debug)]
pub struct Reconnect {
    /// The session.
    pub session: SessionId,
    /// The connection to bind; `None` if the caller has no lasting one.
    pub connection: Option<ConnectionId>,
}

impl Reconnect {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        Some(&self.session)
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let Ok(session) = catalog.session(self.session.reveal()) else {
            return Ok(Decided::new(Reply::Gone, Vec::new()));
        };
        let audited = |decided: Decided| {
            decided.with_audit(session.key, AuditAction::Reconnected, AuditDetails::of_routes(session))
        };
        let reconnected = Decided::new(Reply::Reconnected, Vec::new());
        if self.connection.is_none() {
            return Ok(audited(reconnected));
        }
        let Some(connection) = self.connection.filter(|connection| session.bound != Some(*connection)) else {
            return Ok(reconnected);
        };
        let mut decided =
            Decided { reply: Reply::Reconnected, ..release_connection(catalog, self.connection, context.now) };
        decided.changes.push(Change::Bind(session.key, connection));
        decided.effects.extend(session.bound.map(|other| Effect::Released(other, Release::TakenOver)));
        Ok(audited(decided.with_event(session.key, Event::InstanceConnected)))
    }
}

/// Ends a session and its routes at once.
#[derive(Clone, Debug)]
pub struct ClientShutdown {
    /// The session.
    pub subject: Subject,
    /// The connection that asks; it closes itself.
    pub connection: Option<ConnectionId>,
}

impl ClientShutdown {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        self.subject.session()
    }

    pub(crate) fn decide(&self, catalog: &Catalog, _: DecisionContext<'_>) -> Decision {
        let session = catalog.subject(&self.subject)?;
        if let Some(file) = session.record.owner.file() {
            return Err(held_by_file(&session.record, file));
        }
        let other = session.bound.filter(|bound| Some(*bound) != self.connection);
        let (reason, action) = match self.subject.session() {
            Some(_) => ("shut down", AuditAction::Ended),
            None => ("evicted", AuditAction::Evicted),
        };
        let mut decided = Decided::new(Reply::Done, end_with_replaced(catalog, session));
        decided.effects.extend(other.map(Effect::Close));
        let decided = decided.with_event(session.key, Event::InstanceEnded { reason });
        let details = AuditDetails::of_routes(session).held_by(&session.record.owner);
        Ok(decided.with_audit(session.key, action, details))
    }
}

fn end_with_replaced(catalog: &Catalog, session: &Session) -> Vec<Change> {
    let replaced = catalog.replaced_of(&session.record).filter(|key| *key != session.key);
    replaced.into_iter().chain([session.key]).map(Change::End).collect()
}

/// Subscribes a session to types of events.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The session.
    pub session: SessionId,
    /// The types of events.
    pub topics: Topics,
}

impl Subscribe {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        Some(&self.session)
    }

    pub(crate) fn decide(&self, catalog: &Catalog, _: DecisionContext<'_>) -> Decision {
        let session = catalog.session(self.session.reveal())?;
        Ok(with_topics(session, session.record.topics.union(self.topics)))
    }
}

/// Ends a subscription to types of events.
#[derive(Clone, Debug)]
pub struct Unsubscribe {
    /// The session.
    pub session: SessionId,
    /// The types of events.
    pub topics: Topics,
}

impl Unsubscribe {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        Some(&self.session)
    }

    pub(crate) fn decide(&self, catalog: &Catalog, _: DecisionContext<'_>) -> Decision {
        let session = catalog.session(self.session.reveal())?;
        Ok(with_topics(session, session.record.topics.without(self.topics)))
    }
}

fn with_topics(session: &Session, topics: Topics) -> Decided {
    let changes = if topics == session.record.topics {
        Vec::new()
    } else {
        vec![Change::Record(session.key, Arc::new(SessionRecord { topics, ..SessionRecord::clone(&session.record) }))]
    };
    Decided::new(Reply::Done, changes)
}

/// Reports that a connection has ended; the session bound to it is disconnected.
#[derive(Clone, Debug)]
pub struct Disconnect {
    /// The connection.
    pub connection: ConnectionId,
}

impl Disconnect {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        Ok(release_connection(catalog, Some(self.connection), context.now))
    }
}

/// Takes back an apply that nobody confirmed in time.
fn overdue(catalog: &Catalog, session: &Session, context: DecisionContext<'_>) -> Decided {
    let waits = session.confirmation.as_deref().filter(|waits| waits.until <= context.now);
    let decided = waits.map(|waits| {
        let why = (RevisionAction::Unconfirmed, "nobody confirmed it in time");
        take_back(catalog, session, waits, why, context)
    });
    decided.map_or_else(|| Decided::new(Reply::Done, Vec::new()), |decided| Decided { reply: Reply::Done, ..decided })
}

/// Handles the deadlines of a session: of its lease, its staged changes, its drain and its confirmation.
#[derive(Clone, Debug)]
pub struct Expire {
    /// The session.
    pub key: SessionKey,
    /// Everything that was due at this time or earlier has been handled.
    pub since: Time,
}

impl Expire {
    pub(crate) fn session(&self) -> Option<&SessionId> {
        None
    }

    pub(crate) fn decide(&self, catalog: &Catalog, context: DecisionContext<'_>) -> Decision {
        let Some(session) = catalog.by_key(self.key) else {
            return Ok(Decided::new(Reply::Done, Vec::new()));
        };
        let (now, limits) = (context.now, context.limits);
        if ends_at(session, limits).is_some_and(|at| at <= now) {
            let ended = Decided::new(Reply::Done, vec![Change::End(session.key)]);
            let mut details = AuditDetails::of_routes(session).lease(lease_of(session, limits).to_string());
            if session.record.replaced.is_some() {
                details.reason = Some("its instance had registered anew".to_owned());
                return Ok(ended.with_audit(session.key, AuditAction::Expired, details));
            }
            let ended = ended.with_event(session.key, Event::InstanceEnded { reason: "expired" });
            return Ok(ended.with_audit(session.key, AuditAction::Expired, details));
        }
        let mut decided = overdue(catalog, session, context);
        if decided.changes.is_empty()
            && session.staged.as_ref().is_some_and(|staged| staged.touched.after(limits.staged_ttl) <= now)
        {
            decided.changes = unstage(session);
            if !session.difference().is_empty() {
                decided = decided.with_event(session.key, Event::StagedConfigExpired).with_audit(
                    session.key,
                    AuditAction::StagedExpired,
                    AuditDetails::default(),
                );
            }
        }
        if let Some(ends) = ends_at(session, limits)
            && warns_at(session, limits).is_some_and(|at| self.since < at && at <= now)
        {
            let SessionRecord { service, instance, .. } = &*session.record;
            let (service, instance) = (service.clone(), instance.clone());
            decided = decided.with_event(session.key, Event::SessionExpiring { service, instance, expires_at: ends });
            decided.effects.push(Effect::ExpiresSoon(session.key, ends));
        }
        let drained = session.record.drain.is_some_and(|drain| self.since < drain.ends() && drain.ends() <= now);
        if !drained {
            return Ok(decided);
        }
        let decided = decided.with_event(session.key, Event::DrainCompleted);
        Ok(decided.with_audit(session.key, AuditAction::DrainCompleted, AuditDetails::default()))
    }
}
