//! The payloads of events.

use serde::Serialize;

use crate::domain::{Event, InstanceName, ServiceName, Time};

/// The payload of an event, without its type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[expect(missing_docs, reason = "the protocol names and explains the keys")]
pub enum EventView {
    Nothing {},
    Applied { revision: u64 },
    Maintenance { target: String, in_maintenance: bool },
    MaintenanceFailed { target: String, in_maintenance: bool, reason: &'static str },
    Health { route_id: String, healthy: bool, reason: String },
    Circuit { route_id: String, state: &'static str },
    Ended { reason: &'static str },
    DrainStarted { until: String },
    CertRenewed { domain: String, expiry: String },
    GlobalConfigChanged { reason: String },
    Pending { confirmation_id: String, number: u64, until: Time },
    Confirmed { number: u64 },
    Reverted { number: u64, reverted_to: u64, reason: String },
    Expiring { service: ServiceName, instance: InstanceName, expires_at: Time },
}

impl From<&Event> for EventView {
    fn from(event: &Event) -> Self {
        match event {
            Event::DrainCompleted
            | Event::StagedConfigExpired
            | Event::InstanceRegistered
            | Event::InstanceConnected
            | Event::InstanceDisconnected
            | Event::DrainCancelled => EventView::Nothing {},
            Event::MaintenanceChanged { target, in_maintenance } => {
                EventView::Maintenance { target: target.to_string(), in_maintenance: *in_maintenance }
            }
            Event::MaintenanceFailed { target, in_maintenance, reason } => {
                EventView::MaintenanceFailed { target: target.to_string(), in_maintenance: *in_maintenance, reason }
            }
            Event::ConfigApplied { revision } => EventView::Applied { revision: *revision },
            Event::BackendHealthChanged { route, healthy, reason } => {
                EventView::Health { route_id: route.to_string(), healthy: *healthy, reason: reason.clone() }
            }
            Event::CircuitStateChanged { route, state } => {
                EventView::Circuit { route_id: route.to_string(), state: state.name() }
            }
            Event::InstanceEnded { reason } => EventView::Ended { reason },
            Event::DrainStarted { until } => EventView::DrainStarted { until: until.to_string() },
            Event::CertRenewed { domain, expiry } => {
                EventView::CertRenewed { domain: domain.to_string(), expiry: expiry.to_string() }
            }
            Event::SessionExpiring { service, instance, expires_at } => {
                EventView::Expiring { service: service.clone(), instance: instance.clone(), expires_at: *expires_at }
            }
            Event::ConfigPending { id, number, until } => {
                EventView::Pending { confirmation_id: id.to_string(), number: *number, until: *until }
            }
            Event::ConfigConfirmed { number } => EventView::Confirmed { number: *number },
            Event::ConfigReverted { number, to, reason } => {
                EventView::Reverted { number: *number, reverted_to: *to, reason: reason.to_string() }
            }
            Event::GlobalConfigChanged { reason } => EventView::GlobalConfigChanged { reason: reason.to_string() },
        }
    }
}
