//! A session: one registered instance, its configuration, and what was asked of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{
    Config, ConnectionId, Difference, Drain, InstanceName, Maintenance, Metadata, Origin, Pending, Route, RouteId,
    ServiceName, SessionId, SessionKey, Time, TokenName, Topics,
};

/// The part of a session that is kept as one row: everything but its configurations.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionRecord {
    /// Its credential.
    pub id: SessionId,
    /// The service.
    pub service: ServiceName,
    /// The instance.
    pub instance: InstanceName,
    /// Told by the client, shown to operators.
    pub maintenance_port: u16,
    /// Told by the client.
    pub metadata: Metadata,
    /// When it registered.
    pub connected_at: Time,
    /// The number of its next route, from 1.
    pub next_route: u32,
    /// How many applies changed something.
    pub revision: u64,
    /// When the last of them was.
    pub last_apply: Option<Time>,
    /// Its drain, running or complete.
    pub drain: Option<Drain>,
    /// Its maintenance.
    pub maintenance: Maintenance,
    /// The events its connection is told of.
    pub topics: Topics,
    /// Set once a new registration of the instance took over: how long the routes still serve.
    pub replaced: Option<Time>,
    /// The registration token it came with, when the server asked for one.
    pub token: Option<TokenName>,
    /// Where it registered from. Not stored: a session from before a restart counts for nobody.
    pub origin: Option<Origin>,
}

impl SessionRecord {
    /// The record of a session that an instance opens at `now`; `nonce` must be 128 random bits.
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
        }
    }

    /// The latest of its moments that lay in the past when it was kept.
    pub fn latest(&self) -> Time {
        let drained = self.drain.map(|drain| drain.started);
        [self.last_apply, drained].into_iter().flatten().fold(self.connected_at, Time::max)
    }

    /// The same with every moment later by `millis`.
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

/// When a session was last heard of. Shared by all copies of the session, and written by
/// readers, so that a `PING` need not queue for the writer.
#[derive(Clone, Debug, Default)]
pub struct LastActivity(Arc<AtomicU64>);

impl LastActivity {
    /// A last_activity that was felt at `now`.
    pub fn new(now: Time) -> Self {
        Self(Arc::new(AtomicU64::new(now.0)))
    }

    /// Heard of it at `now`.
    pub fn touch(&self, now: Time) {
        // Most commands of a pipelined batch share a millisecond: read before writing a shared line.
        if self.0.load(Ordering::Relaxed) < now.0 {
            self.0.fetch_max(now.0, Ordering::Relaxed);
        }
    }

    /// When it was last heard of.
    pub fn last(&self) -> Time {
        Time(self.0.load(Ordering::Relaxed))
    }
}

/// Changes that are staged: the whole configuration as it will be.
#[derive(Clone, Debug)]
pub struct Staged {
    /// The active configuration with every staged edit made.
    pub config: Config,
    /// When it was last edited.
    pub touched: Time,
}

/// One session, as the catalog holds it.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its number.
    pub key: SessionKey,
    /// What is kept of it as one row.
    pub record: Arc<SessionRecord>,
    /// What traffic obeys.
    pub active: Config,
    /// What the next apply makes active, when anything is staged.
    pub staged: Option<Staged>,
    /// The connection its server-sent lines go to; without one it is disconnected.
    pub bound: Option<ConnectionId>,
    /// Since when it has had no connection (while it has none).
    pub unbound_at: Time,
    /// Its last activity.
    pub last_activity: LastActivity,
    /// Maintenance requests whose outcome is to be told.
    pub pending: Vec<Pending>,
}

impl Session {
    /// A session that has just been opened, or read from the store.
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
        }
    }

    /// The configuration that commands edit: the staged one, or the active one while nothing is staged.
    pub fn edited(&self) -> &Config {
        self.staged.as_ref().map_or(&self.active, |staged| &staged.config)
    }

    /// What an apply would change.
    pub fn difference(&self) -> Difference {
        match &self.staged {
            Some(staged) => self.active.difference(&staged.config),
            None => Difference::default(),
        }
    }

    /// A route that is active or staged, the staged one first.
    pub fn route(&self, id: RouteId) -> Option<&Arc<Route>> {
        self.edited().routes.get(&id).or_else(|| self.active.routes.get(&id))
    }
}
