//! Events.

use serde_json::{Value, json};

use crate::grpc::proto::event::Payload;
use crate::grpc::proto::{Event, EventType};

use super::{JsonShape, circuit, time};

impl JsonShape for Event {
    fn json(&self) -> Value {
        json!({
            "sequence": self.sequence,
            "at": time(self.at),
            "service_name": self.service_name,
            "instance_name": self.instance_name,
            "owner": self.owner,
            "type": event_type(self.r#type),
            "payload": self.payload.as_ref().map_or_else(|| json!({}), payload),
        })
    }
}

/// Returns the name of a type of events; one that this version does not know is `event_` and its number.
pub(crate) fn event_type(number: i32) -> String {
    let Ok(known) = EventType::try_from(number) else { return format!("event_{number}") };
    known.as_str_name().trim_start_matches("EVENT_TYPE_").to_lowercase()
}

fn payload(payload: &Payload) -> Value {
    match payload {
        Payload::BackendHealthChanged(health) => {
            json!({ "route_id": health.route_id, "healthy": health.healthy, "reason": health.reason })
        }
        Payload::CircuitStateChanged(change) => {
            json!({ "route_id": change.route_id, "state": circuit(change.state()) })
        }
        Payload::MaintenanceChanged(change) => {
            json!({ "target": change.target, "in_maintenance": change.in_maintenance })
        }
        Payload::MaintenanceFailed(failed) => {
            json!({ "target": failed.target, "in_maintenance": failed.in_maintenance, "reason": failed.reason })
        }
        Payload::ConfigApplied(applied) => json!({ "revision": applied.revision }),
        Payload::InstanceEnded(ended) => json!({ "reason": ended.reason }),
        Payload::DrainStarted(started) => json!({ "until": time(started.completes_at) }),
        Payload::CertRenewed(renewed) => json!({ "domain": renewed.domain, "expiry": time(renewed.expiry) }),
        Payload::SessionExpiring(expiring) => json!({
            "service": expiring.service,
            "instance": expiring.instance,
            "expires_at": time(expiring.expires_at),
        }),
        Payload::ConfigPending(pending) => json!({
            "confirmation_id": pending.confirmation_id,
            "number": pending.number,
            "until": time(pending.until),
        }),
        Payload::ConfigConfirmed(confirmed) => json!({ "number": confirmed.number }),
        Payload::ConfigReverted(reverted) => json!({
            "number": reverted.number,
            "reverted_to": reverted.reverted_to,
            "reason": reverted.reason,
        }),
        Payload::GlobalConfigChanged(change) => json!({ "reason": change.reason }),
    }
}
