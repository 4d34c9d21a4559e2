//! A session: one registered instance with its configuration and state.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    Config, Confirmation, ConnectionId, Difference, Drain, InstanceName, Lease, Maintenance, Metadata, Origin, Owner,
    Pending, Route, RouteId, ServiceName, SessionId, SessionKey, Time, TokenName, Topics,
};

/// The record of a session: everything but its configurations, stored as one row.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRecord {
    /// The session's credential.
    pub id: SessionId,
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// A port that the client tells and operators see.
    pub maintenance_port: u16,
    /// The client's metadata.
    pub metadata: Metadata,
    /// The time of the registration.
    pub connected_at: Time,
    /// The number of the next route, from 1.
    pub next_route: u32,
    /// The number of applies that changed something.
    pub revision: u64,
    /// The time of the last apply.
    pub last_apply: Option<Time>,
    /// The drain, running or complete.
    pub drain: Option<Drain>,
    /// Its maintenance.
    pub maintenance: Maintenance,
    /// The event types that the session's connection subscribed to.
    pub topics: Topics,
    /// The time until which the routes still serve; set once a new registration of the instance replaced the session.
    pub replaced: Option<Time>,
    /// The registration token that the session registered with.
    pub token: Option<TokenName>,
    /// The origin of the registration. Not stored: after a restart the session counts for no origin.
    pub origin: Option<Origin>,
    /// The lease that it asked for; `None` for the grace period.
    pub lease: Option<Lease>,
    /// The owner.
    pub owner: Owner,
}

impl SessionRecord {
    /// Creates the record of a session that opens at `now`. `nonce` must be 128 random bits.
    pub fn opened(service: ServiceName, instance: InstanceName, nonce: u128, now: Time) -> Self {
        Self {
            id: SessionId::new(&instance, now, nonce),
            service,
            instance,
            maintenance_port: 0,
            metadata: Metadata::default(),
            connected_at: now,
            next_route: 1,
            revision: 0,
            last_apply: None,
            drain: None,
            maintenance: Maintenance::default(),
            topics: Topics::default(),
            replaced: None,
            token: None,
            origin: None,
            lease: None,
            owner: Owner::Session,
        }
    }

    /// Creates the record of an instance that `owner` holds without a client. Its id is no credential.
    pub fn owned(owner: Owner, service: ServiceName, instance: InstanceName, key: SessionKey, now: Time) -> Self {
        let id = SessionId::restore(&format!("{service}/{instance}@{}", key.0));
        Self { id, owner, lease: Some(Lease::Permanent), ..Self::opened(service, instance, 0, now) }
    }

    /// Returns the latest time in the record that was in the past when it was stored.
    pub fn latest(&self) -> Time {
        let drained = self.drain.map(|drain| drain.started);
        [self.last_apply, drained].into_iter().flatten().fold(self.connected_at, Time::max)
    }

    /// Returns the record with every time moved by `millis`.
    #[must_use]
    pub fn moved(&self, millis: i64) -> Self {
        let by = |moment: Time| Time(moment.0.saturating_add_signed(millis));
        Self {
            connected_at: by(self.connected_at),
            last_apply: self.last_apply.map(by),
            drain: self.drain.map(|drain| Drain { started: by(drain.started), ..drain }),
            replaced: self.replaced.map(by),
            ..self.clone()
        }
    }
}

/// The time of a session's last activity. All copies of the session share it, and readers write it, so that a `PING`
/// need not wait for the writer.
#[derive(Clone, Debug, Default)]
pub struct LastActivity(Arc<AtomicU64>);

impl LastActivity {
    /// Creates one with the time `now`.
    pub fn new(now: Time) -> Self {
        Self(Arc::new(AtomicU64::new(now.0)))
    }

    /// Records activity at `now`.
    pub fn touch(&self, now: Time) {
        // Most commands of a pipelined batch share a millisecond, so a read avoids most writes to the shared cache
        // line.
        if self.0.load(Ordering::Relaxed) < now.0 {
            self.0.fetch_max(now.0, Ordering::Relaxed);
        }
    }

    /// Returns the time of the last activity.
    pub fn last(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }
}

/// The staged changes, as the whole configuration with them.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The active configuration with every staged edit.
    pub config: Config,
    /// The time of the last edit.
    pub touched: Time,
}

/// A session, as the catalog holds it.
#[derive(Clone, Debug)]
pub struct Session {
    /// The session's number.
    pub key: SessionKey,
    /// The part of the session that is stored as one row.
    pub record: Arc<SessionRecord>,
    /// The configuration that traffic obeys.
    pub active: Config,
    /// The configuration that the next apply makes active.
    pub staged: Option<Staged>,
    /// The connection that gets the session's server-sent lines; `None` while disconnected.
    pub bound: Option<ConnectionId>,
    /// The time since when the session is disconnected, while it is.
    pub unbound_at: Time,
    /// Its last activity.
    pub last_activity: LastActivity,
    /// The maintenance requests that wait for their outcome.
    pub pending: Vec<Pending>,
    /// The apply that waits for its confirmation.
    pub confirmation: Option<Arc<Confirmation>>,
}

impl Session {
    /// Creates a session that has just been opened or read from the store.
    pub fn new(key: SessionKey, record: Arc<SessionRecord>) -> Self {
        let opened = record.connected_at;
        Self {
            key,
            record,
            active: Config::default(),
            staged: None,
            bound: None,
            unbound_at: opened,
            last_activity: LastActivity::new(opened),
            pending: Vec::new(),
            confirmation: None,
        }
    }

    /// Returns the configuration that commands edit: the staged one, or the active one while nothing is staged.
    pub fn edited(&self) -> &Config {
        self.staged.as_ref().map_or(&self.active, |staged| &staged.config)
    }

    /// Returns the edits that an apply would make.
    pub fn difference(&self) -> Difference {
        match &self.staged {
            Some(staged) => self.active.difference(&staged.config),
            None => Difference::default(),
        }
    }

    /// Returns a route that is staged or active. The staged one goes first.
    pub fn route(&self, id: RouteId) -> Option<&Arc<Route>> {
        self.edited().routes.get(&id).or_else(|| self.active.routes.get(&id))
    }
}
