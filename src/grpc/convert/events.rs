//! Converts events and their types.

use crate::domain::{Error, Event, EventKind, EventRecord, Topics};
use crate::grpc::proto::{
    self, BackendHealthChanged, CertRenewed, CircuitState, CircuitStateChanged, Compacted, ConfigApplied,
    ConfigConfirmed, ConfigPending, ConfigReverted, DrainStarted, EventType, GlobalConfigChanged, Heartbeat,
    InstanceEnded, Lagged, MaintenanceChanged, MaintenanceFailed, SessionExpiring,
};
use crate::registry::StreamItem;

use super::timestamp;

use proto::event::Payload;
use proto::subscribe_response::Item as Subscribed;
use proto::watch_response::Item as Watched;

/// Reads the event types of a stream; an empty list means all.
pub(in crate::grpc) fn topics_or_all(types: &[i32]) -> Result<Topics, Error> {
    if types.is_empty() { of_type(EventType::All.into()) } else { topics(types) }
}

/// Reads event types that a session can subscribe to.
pub(in crate::grpc) fn topics(types: &[i32]) -> Result<Topics, Error> {
    types.iter().try_fold(Topics::default(), |topics, number| Ok(topics.union(of_type(*number)?)))
}

fn of_type(number: i32) -> Result<Topics, Error> {
    let wrong = || Error::invalid("types", format!("{number} is not the number of a type that can be subscribed to"));
    let known = EventType::try_from(number).map_err(|_| wrong())?;
    if known == EventType::All {
        return Ok(EventKind::TOPICS.into_iter().fold(Topics::default(), Topics::with));
    }
    let kind = EventKind::TOPICS.into_iter().find(|kind| EventType::from(*kind) == known);
    kind.map(|kind| Topics::default().with(kind)).ok_or_else(wrong)
}

impl From<EventKind> for EventType {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::CertRenewed => EventType::CertRenewed,
            EventKind::GlobalConfigChanged => EventType::GlobalConfigChanged,
            EventKind::BackendHealthChanged => EventType::BackendHealthChanged,
            EventKind::CircuitStateChanged => EventType::CircuitStateChanged,
            EventKind::DrainCompleted => EventType::DrainCompleted,
            EventKind::MaintenanceChanged => EventType::MaintenanceChanged,
            EventKind::ConfigApplied => EventType::ConfigApplied,
            EventKind::StagedConfigExpired => EventType::StagedConfigExpired,
            EventKind::MaintenanceFailed => EventType::MaintenanceFailed,
            EventKind::InstanceRegistered => EventType::InstanceRegistered,
            EventKind::InstanceConnected => EventType::InstanceConnected,
            EventKind::InstanceDisconnected => EventType::InstanceDisconnected,
            EventKind::InstanceEnded => EventType::InstanceEnded,
            EventKind::DrainStarted => EventType::DrainStarted,
            EventKind::DrainCancelled => EventType::DrainCancelled,
            EventKind::SessionExpiring => EventType::SessionExpiring,
            EventKind::ConfigPending => EventType::ConfigPending,
            EventKind::ConfigConfirmed => EventType::ConfigConfirmed,
            EventKind::ConfigReverted => EventType::ConfigReverted,
        }
    }
}

/// Returns the message for a subscriber, or the reason for the end of the stream.
pub(in crate::grpc) fn subscribe_item(item: StreamItem) -> Result<proto::SubscribeResponse, Error> {
    let item = match item {
        StreamItem::Event(happened) => Subscribed::Event(event(&happened)),
        StreamItem::Lagged { missed } => Subscribed::Lagged(Lagged { missed }),
        StreamItem::Compacted { oldest } => Subscribed::Compacted(Compacted { oldest }),
        StreamItem::Quiet { position } => Subscribed::Heartbeat(Heartbeat { sequence: position }),
        StreamItem::Ended(error) => return Err(error),
    };
    Ok(proto::SubscribeResponse { item: Some(item) })
}

/// Returns the message for a watcher, or the reason for the end of the stream.
pub(in crate::grpc) fn watch_item(item: StreamItem) -> Result<proto::WatchResponse, Error> {
    let item = match item {
        StreamItem::Event(happened) => Watched::Event(event(&happened)),
        StreamItem::Lagged { missed } => Watched::Lagged(Lagged { missed }),
        StreamItem::Compacted { oldest } => Watched::Compacted(Compacted { oldest }),
        StreamItem::Quiet { position } => Watched::Heartbeat(Heartbeat { sequence: position }),
        StreamItem::Ended(error) => return Err(error),
    };
    Ok(proto::WatchResponse { item: Some(item) })
}

fn event(happened: &EventRecord) -> proto::Event {
    let of = happened.instance.as_ref();
    proto::Event {
        sequence: happened.sequence,
        at: Some(timestamp(happened.at)),
        service_name: of.map(|of| of.service.to_string()).unwrap_or_default(),
        instance_name: of.map(|of| of.instance.to_string()).unwrap_or_default(),
        owner: of.map(|of| of.owner.word().to_owned()).unwrap_or_default(),
        r#type: EventType::from(happened.event.kind()).into(),
        payload: payload(&happened.event),
    }
}

fn payload(event: &Event) -> Option<Payload> {
    Some(match event {
        Event::DrainCompleted
        | Event::StagedConfigExpired
        | Event::InstanceRegistered
        | Event::InstanceConnected
        | Event::InstanceDisconnected
        | Event::DrainCancelled => return None,
        Event::MaintenanceChanged { target, in_maintenance } => Payload::MaintenanceChanged(MaintenanceChanged {
            target: target.to_string(),
            in_maintenance: *in_maintenance,
        }),
        Event::MaintenanceFailed { target, in_maintenance, reason } => Payload::MaintenanceFailed(MaintenanceFailed {
            target: target.to_string(),
            in_maintenance: *in_maintenance,
            reason: (*reason).to_owned(),
        }),
        Event::ConfigApplied { revision } => Payload::ConfigApplied(ConfigApplied { revision: *revision }),
        Event::BackendHealthChanged { route, healthy, reason } => Payload::BackendHealthChanged(BackendHealthChanged {
            route_id: route.to_string(),
            healthy: *healthy,
            reason: reason.clone(),
        }),
        Event::CircuitStateChanged { route, state } => Payload::CircuitStateChanged(CircuitStateChanged {
            route_id: route.to_string(),
            state: CircuitState::from(*state).into(),
        }),
        Event::CertRenewed { domain, expiry } => {
            Payload::CertRenewed(CertRenewed { domain: domain.to_string(), expiry: Some(timestamp(*expiry)) })
        }
        Event::GlobalConfigChanged { reason } => {
            Payload::GlobalConfigChanged(GlobalConfigChanged { reason: reason.to_string() })
        }
        Event::InstanceEnded { reason } => Payload::InstanceEnded(InstanceEnded { reason: (*reason).to_owned() }),
        Event::SessionExpiring { service, instance, expires_at } => Payload::SessionExpiring(SessionExpiring {
            service: service.to_string(),
            instance: instance.to_string(),
            expires_at: Some(timestamp(*expires_at)),
        }),
        Event::ConfigPending { id, number, until } => Payload::ConfigPending(ConfigPending {
            confirmation_id: id.to_string(),
            number: *number,
            until: Some(timestamp(*until)),
        }),
        Event::ConfigConfirmed { number } => Payload::ConfigConfirmed(ConfigConfirmed { number: *number }),
        Event::ConfigReverted { number, to, reason } => {
            Payload::ConfigReverted(ConfigReverted { number: *number, reverted_to: *to, reason: reason.to_string() })
        }
        Event::DrainStarted { until } => Payload::DrainStarted(DrainStarted { completes_at: Some(timestamp(*until)) }),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{BreakerState, EventInstance, InstanceName, RouteId, ServiceName, SessionKey, Target, Time};

    fn all_types() -> impl Iterator<Item = EventType> {
        (0..).map_while(|number| EventType::try_from(number).ok())
    }

    #[test]
    fn every_type_has_the_name_that_it_has_elsewhere() {
        for kind in EventKind::TOPICS {
            let name = EventType::from(kind).as_str_name().to_ascii_lowercase();
            assert_eq!(name, format!("event_type_{}", kind.name()));
        }
    }

    #[test]
    fn only_what_a_session_can_be_subscribed_to_is_taken() {
        let taken: Vec<EventType> = all_types().filter(|known| topics(&[(*known).into()]).is_ok()).collect();
        assert_eq!(taken.len(), 1 + EventKind::TOPICS.len());
        assert!(!taken.contains(&EventType::Unspecified) && !taken.contains(&EventType::InstanceEnded));
        for wrong in [0, 99, -1, EventType::MaintenanceFailed.into()] {
            assert_eq!(topics(&[EventType::All.into(), wrong]).unwrap_err().field(), Some("types"), "{wrong}");
        }
        assert_eq!(topics(&[EventType::All.into()]), Topics::parse("all"));
        assert_eq!(topics(&[EventType::DrainCompleted.into()]), Topics::parse("drain_completed"));
        assert_eq!(topics(&[]), Ok(Topics::default()));
    }

    #[test]
    fn an_event_says_where_it_happened_and_what() {
        let route = RouteId(1);
        let events = [
            Event::MaintenanceFailed { target: Target::All, in_maintenance: true, reason: "timeout" },
            Event::CircuitStateChanged { route, state: BreakerState::HalfOpen },
            Event::DrainCompleted,
        ];
        let [failed, circuit, drained] = events.map(|event| {
            let service = ServiceName::parse("shop").unwrap();
            let instance = InstanceName::parse("shop-1").unwrap();
            let instance =
                Some(EventInstance { session: SessionKey(1), service, instance, owner: crate::domain::Owner::Session });
            super::event(&EventRecord { sequence: 7, at: Time(1500), instance, event })
        });
        assert_eq!(
            (failed.sequence, failed.service_name.as_str(), failed.instance_name.as_str()),
            (7, "shop", "shop-1")
        );
        assert_eq!(failed.at, Some(timestamp(Time(1500))));
        let reason = "timeout".to_owned();
        let expected = MaintenanceFailed { target: "ALL".to_owned(), in_maintenance: true, reason };
        assert_eq!(failed.payload, Some(Payload::MaintenanceFailed(expected)));
        let Some(Payload::CircuitStateChanged(changed)) = circuit.payload else { panic!("{circuit:?}") };
        assert_eq!((changed.route_id.as_str(), changed.state()), ("r1", CircuitState::HalfOpen));
        assert_eq!((drained.r#type(), drained.payload), (EventType::DrainCompleted, None));
    }

    #[test]
    fn a_stream_says_what_it_cannot_give_and_why_it_ends() {
        let missed = subscribe_item(StreamItem::Lagged { missed: 3 }).unwrap().item;
        assert_eq!(missed, Some(Subscribed::Lagged(Lagged { missed: 3 })));
        let oldest = watch_item(StreamItem::Compacted { oldest: 9 }).unwrap().item;
        assert_eq!(oldest, Some(Watched::Compacted(Compacted { oldest: 9 })));
        assert_eq!(subscribe_item(StreamItem::Ended(Error::invalid_session())), Err(Error::invalid_session()));
        let happened = EventRecord {
            sequence: 1,
            at: Time(0),
            instance: Some(EventInstance {
                owner: crate::domain::Owner::Session,
                session: SessionKey(1),
                service: ServiceName::parse("shop").unwrap(),
                instance: InstanceName::parse("shop-1").unwrap(),
            }),
            event: Event::DrainCompleted,
        };
        assert!(matches!(watch_item(StreamItem::Event(Arc::new(happened))).unwrap().item, Some(Watched::Event(_))));
    }
}
