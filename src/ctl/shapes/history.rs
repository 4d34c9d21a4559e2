//! Revisions of an instance, and configurations in entries.

use serde_json::{Value, json};

use crate::grpc::proto::{
    ApplyInstanceConfigResponse, CircuitBreakerEntry, Config, Confirmation, HeaderEntry, HealthCheckEntry, OptionEntry,
    RateLimitEntry, Revision, RevisionDetail, RouteEntry,
};

use super::services::span;
use super::state::joined;
use super::{JsonShape, items, maybe, time};

impl JsonShape for Revision {
    fn json(&self) -> Value {
        let actor = self.actor.clone().unwrap_or_default();
        let changes = self.changes.unwrap_or_default();
        json!({
            "number": self.number,
            "revision": self.revision,
            "at": time(self.at),
            "action": self.action,
            "actor": { "kind": actor.kind, "name": actor.name },
            "interface": self.interface,
            "address": self.address,
            "reason": self.reason,
            "reverted_to": self.reverted_to,
            "changes": {
                "routes_added": changes.routes_added,
                "routes_changed": changes.routes_changed,
                "routes_removed": changes.routes_removed,
                "headers_changed": changes.headers_changed,
                "options_changed": changes.options_changed,
                "health_checks_changed": changes.health_checks_changed,
                "rate_limits_changed": changes.rate_limits_changed,
                "circuit_breakers_changed": changes.circuit_breakers_changed,
            },
        })
    }
}

impl JsonShape for RevisionDetail {
    fn json(&self) -> Value {
        let revision = self.revision.as_ref().map_or_else(|| json!({}), JsonShape::json);
        let config = maybe(self.config.as_ref());
        let diff = json!({ "diff": items(&self.diff), "diff_total": self.diff_total });
        joined(joined(revision, json!({ "config": config, "against": self.against })), diff)
    }
}

impl JsonShape for Confirmation {
    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "number": self.number,
            "reverts_to": self.reverts_to,
            "until": time(self.until),
            "guard": self.guard,
        })
    }
}

impl JsonShape for ApplyInstanceConfigResponse {
    fn json(&self) -> Value {
        let applied = json!({ "revision": self.revision, "number": self.number });
        let waits = self.confirmation.as_ref().map(|waits| json!({ "confirmation": waits.json() }));
        joined(applied, waits.unwrap_or_default())
    }
}

impl JsonShape for Config {
    fn json(&self) -> Value {
        json!({
            "routes": items(&self.routes),
            "headers": items(&self.headers),
            "options": items(&self.options),
            "health_checks": items(&self.health_checks),
            "rate_limits": items(&self.rate_limits),
            "circuit_breakers": items(&self.circuit_breakers),
        })
    }
}

impl JsonShape for RouteEntry {
    fn json(&self) -> Value {
        json!({
            "route_id": self.route_id,
            "domains": self.domains,
            "path": self.path,
            "backend": self.backend_url,
            "priority": self.priority,
        })
    }
}

impl JsonShape for HeaderEntry {
    fn json(&self) -> Value {
        json!({ "target": self.target, "name": self.name, "value": self.value })
    }
}

impl JsonShape for OptionEntry {
    fn json(&self) -> Value {
        json!({ "target": self.target, "key": self.key, "value": self.value })
    }
}

impl JsonShape for HealthCheckEntry {
    fn json(&self) -> Value {
        json!({
            "route_id": self.route_id,
            "path": self.path,
            "interval": span(self.interval),
            "timeout": span(self.timeout),
        })
    }
}

impl JsonShape for RateLimitEntry {
    fn json(&self) -> Value {
        json!({ "target": self.target, "requests": self.requests, "window": span(self.window) })
    }
}

impl JsonShape for CircuitBreakerEntry {
    fn json(&self) -> Value {
        json!({
            "target": self.target,
            "threshold": self.threshold,
            "timeout": span(self.timeout),
            "half_open_requests": self.half_open_requests,
        })
    }
}
