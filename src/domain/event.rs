//! Events: the things that happen to sessions and that callers can be notified of.

use std::sync::Arc;

use super::{
    BreakerState, ConfirmationId, Error, Host, InstanceName, Owner, RouteId, ServiceName, SessionKey, Target, Time,
};

/// The types of events. A session can subscribe to those in [`EventKind::TOPICS`]; operators get all.
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
    /// Staged changes were dropped because of their age.
    StagedConfigExpired,
    /// A maintenance request failed. Sent to event streams only; the pipe answers the request instead.
    MaintenanceFailed,
    /// An instance registered.
    InstanceRegistered,
    /// An instance has a connection again.
    InstanceConnected,
    /// An instance lost its connection.
    InstanceDisconnected,
    /// An instance and its routes are gone.
    InstanceEnded,
    /// An instance began to drain.
    DrainStarted,
    /// A drain was cancelled.
    DrainCancelled,
    /// A session ends soon unless it gives a sign of life.
    SessionExpiring,
    /// An apply waits for its confirmation.
    ConfigPending,
    /// An apply that waited was confirmed.
    ConfigConfirmed,
    /// An apply that waited was taken back.
    ConfigReverted,
}

impl EventKind {
    /// The types that a session can subscribe to.
    pub const TOPICS: [EventKind; 12] = [
        EventKind::CertRenewed,
        EventKind::GlobalConfigChanged,
        EventKind::BackendHealthChanged,
        EventKind::CircuitStateChanged,
        EventKind::DrainCompleted,
        EventKind::MaintenanceChanged,
        EventKind::ConfigApplied,
        EventKind::StagedConfigExpired,
        EventKind::SessionExpiring,
        EventKind::ConfigPending,
        EventKind::ConfigConfirmed,
        EventKind::ConfigReverted,
    ];

    /// Returns the name on the wire.
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
            EventKind::SessionExpiring => "session_expiring",
            EventKind::ConfigPending => "config_pending",
            EventKind::ConfigConfirmed => "config_confirmed",
            EventKind::ConfigReverted => "config_reverted",
        }
    }
}

/// A set of event types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Topics(u32);

impl Topics {
    /// Reads one event type, or `all`.
    ///
    /// # Errors
    /// `Invalid` for an unknown type.
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

    /// Returns the set with `kind` added.
    #[must_use]
    pub fn with(self, kind: EventKind) -> Self {
        Topics(self.0 | 1 << kind as u16)
    }

    /// Returns the union of two sets.
    #[must_use]
    pub fn union(self, other: Topics) -> Self {
        Topics(self.0 | other.0)
    }

    /// Returns the set without the types in `other`.
    #[must_use]
    pub fn without(self, other: Topics) -> Self {
        Topics(self.0 & !other.0)
    }

    /// Returns true if the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns true if the set contains `kind`.
    pub fn contains(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }

    /// Returns the names of the types, for the store.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        EventKind::TOPICS.into_iter().filter(move |kind| self.contains(*kind)).map(EventKind::name)
    }
}

/// Something that happened to a session.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Its drain reached 0 %.
    DrainCompleted,
    /// A target entered or left maintenance.
    MaintenanceChanged {
        /// The target.
        target: Target,
        /// True if the target entered maintenance.
        in_maintenance: bool,
    },
    /// A configuration was applied.
    ConfigApplied {
        /// The number of applies so far, this one included.
        revision: u64,
    },
    /// The staged changes were dropped because of their age.
    StagedConfigExpired,
    /// The backend of one of its routes became healthy or unhealthy.
    BackendHealthChanged {
        /// The route.
        route: RouteId,
        /// The new state.
        healthy: bool,
        /// The result of the last check.
        reason: String,
    },
    /// The circuit breaker of one of its routes changed its state.
    CircuitStateChanged {
        /// The route.
        route: RouteId,
        /// The new state.
        state: BreakerState,
    },
    /// A maintenance request got no answer in time, or a newer request replaced it.
    MaintenanceFailed {
        /// The target of the request.
        target: Target,
        /// True if the target is in maintenance nevertheless.
        in_maintenance: bool,
        /// The reason.
        reason: &'static str,
    },
    /// The session was opened. It replaces an earlier session of the instance.
    InstanceRegistered,
    /// A connection was bound to the session again.
    InstanceConnected,
    /// The connection ended, or was bound to another session.
    InstanceDisconnected,
    /// The session ended.
    InstanceEnded {
        /// The reason: `shut down`, `evicted` or `expired`.
        reason: &'static str,
    },
    /// The session began to drain.
    DrainStarted {
        /// The time at which the drain will be complete.
        until: Time,
    },
    /// The drain was cancelled.
    DrainCancelled,
    /// The session ends soon unless it gives a sign of life.
    SessionExpiring {
        /// Its service.
        service: ServiceName,
        /// Its instance.
        instance: InstanceName,
        /// The time at which it ends.
        expires_at: Time,
    },
    /// An apply waits for its confirmation.
    ConfigPending {
        /// The id of the confirmation.
        id: ConfirmationId,
        /// The number of the revision that waits.
        number: u64,
        /// The deadline.
        until: Time,
    },
    /// An apply that waited was confirmed.
    ConfigConfirmed {
        /// The number of the revision.
        number: u64,
    },
    /// An apply that waited was taken back.
    ConfigReverted {
        /// The number of the revision that waited.
        number: u64,
        /// The number of the revision that was restored; 0 for the empty configuration.
        to: u64,
        /// The reason, with the figures of a guard.
        reason: Arc<str>,
    },
    /// A certificate for one of its domains was replaced.
    CertRenewed {
        /// The name of the certificate that has a host in common with the session's routes.
        domain: Host,
        /// The time at which the new certificate expires.
        expiry: Time,
    },
    /// The server's own configuration changed.
    GlobalConfigChanged {
        /// The reason, and the keys that changed.
        reason: Arc<str>,
    },
}

impl Event {
    /// Returns the event with each of its moments converted by `convert`.
    #[must_use]
    pub fn with_times(self, convert: impl Fn(Time) -> Time) -> Self {
        match self {
            Event::DrainStarted { until } => Event::DrainStarted { until: convert(until) },
            Event::SessionExpiring { service, instance, expires_at } => {
                Event::SessionExpiring { service, instance, expires_at: convert(expires_at) }
            }
            Event::ConfigPending { id, number, until } => Event::ConfigPending { id, number, until: convert(until) },
            other => other,
        }
    }

    /// Returns the type of the event.
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
            Event::SessionExpiring { .. } => EventKind::SessionExpiring,
            Event::ConfigPending { .. } => EventKind::ConfigPending,
            Event::ConfigConfirmed { .. } => EventKind::ConfigConfirmed,
            Event::ConfigReverted { .. } => EventKind::ConfigReverted,
            Event::CertRenewed { .. } => EventKind::CertRenewed,
            Event::GlobalConfigChanged { .. } => EventKind::GlobalConfigChanged,
        }
    }
}

/// The instance that an event happened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventInstance {
    /// Its session.
    pub session: SessionKey,
    /// Its service.
    pub service: ServiceName,
    /// Its name.
    pub instance: InstanceName,
    /// The holder of the instance.
    pub owner: Owner,
}

/// An event with its number, time and instance.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRecord {
    /// The event's number: the registry's revision after the event.
    ///
    /// Numbers are unique and increase, also across restarts. Not every revision is the number of an event.
    pub sequence: u64,
    /// The time of the event.
    pub at: Time,
    /// The instance that it happened to; `None` if it concerns the whole server.
    pub instance: Option<EventInstance>,
    /// The event.
    pub event: Event,
}

impl EventRecord {
    /// Returns true if the event concerns a session.
    pub fn concerns(&self, session: SessionKey) -> bool {
        self.instance.as_ref().is_none_or(|instance| instance.session == session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_moment_of_an_event_is_converted() {
        let later = |at: Time| Time(at.0 + 5);
        let until = Time(1);
        assert_eq!(Event::DrainStarted { until }.with_times(later), Event::DrainStarted { until: Time(6) });
        let (service, instance) = (ServiceName::parse("a").unwrap(), InstanceName::parse("b").unwrap());
        let expiring =
            |expires_at| Event::SessionExpiring { service: service.clone(), instance: instance.clone(), expires_at };
        assert_eq!(expiring(until).with_times(later), expiring(Time(6)));
        let pending = |until| Event::ConfigPending { id: ConfirmationId::new(1), number: 2, until };
        assert_eq!(pending(until).with_times(later), pending(Time(6)));
    }

    #[test]
    fn topics_are_read_joined_and_taken_away() {
        let all = Topics::parse("all").unwrap();
        let one = Topics::parse("drain_completed").unwrap();
        assert_eq!(all.names().count(), 12);
        assert!(!all.without(one).contains(EventKind::DrainCompleted));
        assert_eq!(all.without(one).union(one), all);
        assert!(Topics::parse("weather").is_err());
    }
}
