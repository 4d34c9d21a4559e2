//! Requests of the proxy.

use serde_json::{Map, Value, json};

use crate::grpc::proto::{Attempt, ProxiedRequest};

use super::state::joined;
use super::{JsonShape, items, time};

impl JsonShape for ProxiedRequest {
    fn json(&self) -> Value {
        let always = json!({
            "time": time(self.time),
            "id": self.id,
            "client": self.client,
            "method": self.method,
            "scheme": self.scheme,
            "host": self.host,
            "path": self.path,
            "protocol": self.protocol,
            "status": self.status,
            "bytes_received": self.bytes_received,
            "bytes_sent": self.bytes_sent,
            "duration_ms": self.duration_ms,
            "upstream_ms": self.upstream_ms,
            "attempts": self.attempts,
            "revision": self.revision,
        });
        let texts = [
            ("trace_id", &self.trace_id),
            ("query", &self.query),
            ("service_name", &self.service_name),
            ("instance_name", &self.instance_name),
            ("route_id", &self.route_id),
            ("reason", &self.reason),
            ("detail", &self.detail),
            ("user_agent", &self.user_agent),
            ("referer", &self.referer),
        ];
        let mut some: Map<String, Value> =
            texts.into_iter().filter_map(|(key, text)| Some((key.to_owned(), json!(text.as_ref()?)))).collect();
        if !self.tried.is_empty() {
            some.insert("tried".to_owned(), items(&self.tried).into());
        }
        joined(always, Value::Object(some))
    }
}

impl JsonShape for Attempt {
    fn json(&self) -> Value {
        json!({
            "backend": self.backend_url,
            "instance_name": self.instance_name,
            "route_id": self.route_id,
            "duration_ms": self.duration_ms,
            "error": self.error,
        })
    }
}
