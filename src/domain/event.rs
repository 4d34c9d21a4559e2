//! What a session can be told of without asking.

use super::{BreakerState, Error, InstanceName, RouteId, ServiceName, SessionKey, Target, Time};

/// The types of events. A session can subscribe to those of [`EventKind::TOPICS`]; operators hear of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A certificate was replaced.
    CertRenewed,
    /// The server's own configuration changed.
    GlobalConfigChanged,
    /// A backend became healthy or unhealthy.
    BackendHealthChanged,
    /// A circuit breaker changed its state.
    CircuitStateChanged,
    /// A drain reached 0 %.
    DrainCompleted,
    /// A route entered or left maintenance.
    MaintenanceChanged,
    /// A configuration was applied.
    ConfigApplied,
    /// Staged changes were dropped for their age.
    StagedConfigExpired,
    /// A maintenance request came to nothing. Told to streams; on the pipe whoever asked is answered.
    MaintenanceFailed,
    /// An instance registered.
    InstanceRegistered,
    /// An instance has a connection again.
    InstanceConnected,
    /// An instance lost its connection.
    InstanceDisconnected,
    /// An instance is gone, and its routes.
    InstanceEnded,
    /// An instance began to drain.
    DrainStarted,
    /// A drain was taken back.
    DrainCancelled,
}

impl EventKind {
    /// Those that a session can subscribe to.
    pub const TOPICS: [EventKind; 8] = [
        EventKind::CertRenewed,
        EventKind::GlobalConfigChanged,
        EventKind::BackendHealthChanged,
        EventKind::CircuitStateChanged,
        EventKind::DrainCompleted,
        EventKind::MaintenanceChanged,
        EventKind::ConfigApplied,
        EventKind::StagedConfigExpired,
    ];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            EventKind::CertRenewed => "cert_renewed",
            EventKind::GlobalConfigChanged => "global_config_changed",
            EventKind::BackendHealthChanged => "backend_health_changed",
            EventKind::CircuitStateChanged => "circuit_state_changed",
            EventKind::DrainCompleted => "drain_completed",
            EventKind::MaintenanceChanged => "maintenance_changed",
            EventKind::ConfigApplied => "config_applied",
            EventKind::StagedConfigExpired => "staged_config_expired",
            EventKind::MaintenanceFailed => "maintenance_failed",
            EventKind::InstanceRegistered => "instance_registered",
            EventKind::InstanceConnected => "instance_connected",
            EventKind::InstanceDisconnected => "instance_disconnected",
            EventKind::InstanceEnded => "instance_ended",
            EventKind::DrainStarted => "drain_started",
            EventKind::DrainCancelled => "drain_cancelled",
        }
    }
}

/// A set of event types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topics(u16);

impl Topics {
    /// Reads one event type, or `all`.
    ///
    /// # Errors
    /// `Invalid` for a type that does not exist.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text == "all" {
            return Ok(EventKind::TOPICS.into_iter().fold(Topics::default(), Topics::with));
        }
        let known = EventKind::TOPICS.into_iter().find(|kind| kind.name() == text);
        known.map(|kind| Topics::default().with(kind)).ok_or_else(|| {
            let names = EventKind::TOPICS.map(EventKind::name).join(", ");
            Error::invalid("event_type", format!("`{}` is not one of all, {names}", super::time::shortened(text)))
        })
    }

    /// These and one more.
    #[must_use]
    pub fn with(self, kind: EventKind) -> Self {
        Topics(self.0 | 1 << kind as u16)
    }

    /// These and those.
    #[must_use]
    pub fn union(self, other: Topics) -> Self {
        Topics(self.0 | other.0)
    }

    /// These without those.
    #[must_use]
    pub fn without(self, other: Topics) -> Self {
        Topics(self.0 & !other.0)
    }

    /// True if there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True if `kind` is among them.
    pub fn contains(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }

    /// Their names, for the store.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        EventKind::TOPICS.into_iter().filter(move |kind| self.contains(*kind)).map(EventKind::name)
    }
}

/// Something that happened to a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Its drain reached 0 %.
    DrainCompleted,
    /// A target of it entered or left maintenance.
    MaintenanceChanged {
        /// What entered or left.
        target: Target,
        /// True if it entered.
        in_maintenance: bool,
    },
    /// A configuration of it was applied.
    ConfigApplied {
        /// How many applies there were, this one included.
        revision: u64,
    },
    /// Its staged changes were dropped for their age.
    StagedConfigExpired,
    /// The backend of one of its routes became healthy or unhealthy.
    BackendHealthChanged {
        /// The route.
        route: RouteId,
        /// What it is now.
        healthy: bool,
        /// What the last check saw.
        reason: String,
    },
    /// The circuit breaker of one of its routes changed its state.
    CircuitStateChanged {
        /// The route.
        route: RouteId,
        /// What it is now.
        state: BreakerState,
    },
    /// What a maintenance request waited for did not answer in time, or a newer request took its place.
    MaintenanceFailed {
        /// What it was for.
        target: Target,
        /// True if it is in maintenance all the same.
        in_maintenance: bool,
        /// Why.
        reason: &'static str,
    },
    /// It was opened; one that the instance had before is replaced.
    InstanceRegistered,
    /// A connection was bound to it again.
    InstanceConnected,
    /// Its connection ended, or let go of it.
    InstanceDisconnected,
    /// It ended.
    InstanceEnded {
        /// Why: `shut down`, `evicted` or `expired`.
        reason: &'static str,
    },
    /// It began to drain.
    DrainStarted {
        /// When it is to be complete.
        until: Time,
    },
    /// Its drain was taken back.
    DrainCancelled,
}

impl Event {
    /// Its type.
    pub fn kind(&self) -> EventKind {
        match self {
            Event::DrainCompleted => EventKind::DrainCompleted,
            Event::MaintenanceChanged { .. } => EventKind::MaintenanceChanged,
            Event::ConfigApplied { .. } => EventKind::ConfigApplied,
            Event::StagedConfigExpired => EventKind::StagedConfigExpired,
            Event::BackendHealthChanged { .. } => EventKind::BackendHealthChanged,
            Event::CircuitStateChanged { .. } => EventKind::CircuitStateChanged,
            Event::MaintenanceFailed { .. } => EventKind::MaintenanceFailed,
            Event::InstanceRegistered => EventKind::InstanceRegistered,
            Event::InstanceConnected => EventKind::InstanceConnected,
            Event::InstanceDisconnected => EventKind::InstanceDisconnected,
            Event::InstanceEnded { .. } => EventKind::InstanceEnded,
            Event::DrainStarted { .. } => EventKind::DrainStarted,
            Event::DrainCancelled => EventKind::DrainCancelled,
        }
    }
}

/// An event in its place among all that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    /// Its number: the registry's revision with it. No two events have the same, later ones have higher ones,
    /// also after a restart; not every number is an event's.
    pub sequence: u64,
    /// When.
    pub at: Time,
    /// To which session.
    pub session: SessionKey,
    /// Of which service.
    pub service: ServiceName,
    /// Of which instance.
    pub instance: InstanceName,
    /// What.
    pub event: Event,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_joined_and_taken_away() {
        let all = Topics::parse("all").unwrap();
        let one = Topics::parse("drain_completed").unwrap();
        assert_eq!(all.names().count(), 8);
        assert!(!all.without(one).contains(EventKind::DrainCompleted));
        assert_eq!(all.without(one).union(one), all);
        assert!(Topics::parse("weather").is_err());
    }
}
