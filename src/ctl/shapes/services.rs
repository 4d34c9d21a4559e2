//! Services, and whole configurations of instances.

use std::collections::HashMap;

use prost_types::Duration;
use serde_json::{Map, Value, json};

use crate::domain::Span;
use crate::grpc::proto::{
    CircuitBreakerSetting, ConfigChange, HealthCheckSetting, InstanceConfig, PutInstanceResponse, RateLimitSetting,
    RouteConfig, Service,
};

use super::{JsonShape, items, metadata};

impl JsonShape for Service {
    fn json(&self) -> Value {
        json!({
            "service_name": self.service_name,
            "instances": self.instances,
            "instances_connected": self.instances_connected,
            "instances_draining": self.instances_draining,
            "instances_in_maintenance": self.instances_in_maintenance,
            "routes_active": self.routes_active,
            "owners": self.owners,
        })
    }
}

impl JsonShape for PutInstanceResponse {
    fn json(&self) -> Value {
        json!({
            "revision": self.revision,
            "created": self.created,
            "dry_run": self.dry_run,
            "changes_total": self.changes_total,
            "changes": items(&self.changes),
        })
    }
}

impl JsonShape for ConfigChange {
    fn json(&self) -> Value {
        json!({
            "change": self.change,
            "section": self.section,
            "target": self.target,
            "name": self.name,
            "before": self.before,
            "after": self.after,
        })
    }
}

impl JsonShape for InstanceConfig {
    fn json(&self) -> Value {
        let mut object = settings(
            &self.headers,
            &self.options,
            self.health_check.as_ref(),
            self.rate_limit.as_ref(),
            self.circuit_breaker.as_ref(),
        );
        object.insert("routes".to_owned(), items(&self.routes).into());
        if self.maintenance_port > 0 {
            object.insert("maintenance_port".to_owned(), self.maintenance_port.into());
        }
        if let Some(fields) = self.metadata.as_ref().filter(|metadata| !metadata.fields.is_empty()) {
            object.insert("metadata".to_owned(), metadata(fields));
        }
        Value::Object(object)
    }
}

impl JsonShape for RouteConfig {
    fn json(&self) -> Value {
        let mut object = settings(
            &self.headers,
            &self.options,
            self.health_check.as_ref(),
            self.rate_limit.as_ref(),
            self.circuit_breaker.as_ref(),
        );
        object.extend(self.name.as_ref().map(|name| ("name".to_owned(), json!(name))));
        object.insert("backend".to_owned(), json!(self.backend_url));
        object.insert("domains".to_owned(), json!(self.domains));
        if !matches!(self.path.as_str(), "" | "/") {
            object.insert("path".to_owned(), json!(self.path));
        }
        if self.priority != 0 {
            object.insert("priority".to_owned(), json!(self.priority));
        }
        Value::Object(object)
    }
}

/// Returns the settings that routes and instances have; those that are not set have no key.
fn settings(
    headers: &HashMap<String, String>,
    options: &HashMap<String, String>,
    check: Option<&HealthCheckSetting>,
    limit: Option<&RateLimitSetting>,
    breaker: Option<&CircuitBreakerSetting>,
) -> Map<String, Value> {
    let some = [
        ("headers", (!headers.is_empty()).then(|| json!(headers))),
        ("options", (!options.is_empty()).then(|| json!(options))),
        (
            "health_check",
            check.map(
                |check| json!({ "path": check.path, "interval": span(check.interval), "timeout": span(check.timeout) }),
            ),
        ),
        ("rate_limit", limit.map(|limit| json!({ "requests": limit.requests, "window": span(limit.window) }))),
        (
            "circuit_breaker",
            breaker.map(|breaker| {
                json!({
                    "threshold": breaker.threshold,
                    "timeout": span(breaker.timeout),
                    "half_open_requests": breaker.half_open_requests,
                })
            }),
        ),
    ];
    some.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

/// Returns a duration in the spelling of Go.
pub(super) fn span(duration: Option<Duration>) -> Value {
    let millis = duration.and_then(|duration| std::time::Duration::try_from(duration).ok());
    let millis = millis.map(|duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX));
    millis.map_or(Value::Null, |millis| json!(Span::from_millis(millis).to_string()))
}
