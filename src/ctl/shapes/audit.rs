//! Records of the audit.

use serde_json::{Map, Value, json};

use crate::grpc::proto::{AuditDetails, AuditRecord};

use super::{JsonShape, time};

impl JsonShape for AuditRecord {
    fn json(&self) -> Value {
        let actor = self.actor.clone().unwrap_or_default();
        json!({
            "sequence": self.sequence,
            "at": time(self.at),
            "action": self.action,
            "service_name": self.service_name,
            "instance_name": self.instance_name,
            "actor": { "kind": actor.kind, "name": actor.name },
            "interface": self.interface,
            "address": self.address,
            "revision": self.revision,
            "details": self.details.as_ref().map_or_else(|| json!({}), JsonShape::json),
        })
    }
}

impl JsonShape for AuditDetails {
    fn json(&self) -> Value {
        let numbers = [
            ("routes_added", self.routes_added),
            ("routes_changed", self.routes_changed),
            ("routes_removed", self.routes_removed),
            ("headers_changed", self.headers_changed),
            ("options_changed", self.options_changed),
            ("health_checks_changed", self.health_checks_changed),
            ("rate_limits_changed", self.rate_limits_changed),
            ("circuit_breakers_changed", self.circuit_breakers_changed),
            ("routes_replaced", self.routes_replaced),
            ("routes", self.routes),
            ("number", self.number),
            ("reverted_to", self.reverted_to),
        ];
        let texts = [
            ("target", &self.target),
            ("reason", &self.reason),
            ("keys", &self.keys),
            ("token_name", &self.token_name),
            ("version", &self.version),
            ("lease", &self.lease),
            ("owner", &self.owner),
        ];
        let numbers = numbers.into_iter().filter_map(|(key, number)| Some((key.to_owned(), json!(number?))));
        let texts = texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), json!(text.as_ref()?))));
        let until = self.until.map(|until| ("until".to_owned(), time(Some(until))));
        Value::Object(numbers.chain(texts).chain(until).collect::<Map<_, _>>())
    }
}
