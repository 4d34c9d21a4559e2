//! The state of the server: totals, instances, routes, statistics, certificates.

use serde_json::{Map, Value, json};

use crate::grpc::proto::{
    Certificate, Drain, FileProblem, GetInstanceResponse, GetOverviewResponse, Instance, InstanceMaintenance,
    LatencyBucket, OperatorRoute, OperatorStats, ReloadConfigResponse, TrafficTotals,
};

use super::{JsonShape, circuit, items, maybe, metadata, time};

impl JsonShape for GetOverviewResponse {
    fn json(&self) -> Value {
        json!({
            "version": self.version,
            "started_at": time(self.started_at),
            "uptime_seconds": self.uptime_seconds,
            "revision": self.revision,
            "services": self.services,
            "instances": self.instances,
            "instances_connected": self.instances_connected,
            "instances_draining": self.instances_draining,
            "instances_in_maintenance": self.instances_in_maintenance,
            "routes_active": self.routes_active,
            "certificate_expires_at": time(self.certificate_expires_at),
            "config_problems": self.config_problems.iter().map(JsonShape::json).collect::<Vec<_>>(),
            "traffic": maybe(self.traffic.as_ref()),
        })
    }
}

impl JsonShape for TrafficTotals {
    fn json(&self) -> Value {
        json!({
            "requests": self.requests,
            "status_codes": self.status_codes,
            "unrouted": self.unrouted,
            "in_flight": self.in_flight,
            "retries": self.retries,
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "latency_sum_ms": self.latency_sum_ms,
            "latencies": items(&self.latencies),
        })
    }
}

impl JsonShape for LatencyBucket {
    fn json(&self) -> Value {
        json!({ "at_most_ms": self.at_most_ms, "count": self.count })
    }
}

impl JsonShape for Certificate {
    fn json(&self) -> Value {
        json!({
            "names": self.names,
            "port": self.port,
            "source": self.source,
            "file": self.file,
            "state": self.state,
            "not_before": time(self.not_before),
            "not_after": time(self.not_after),
            "issuer": self.issuer,
            "serial": self.serial,
            "last_error": self.last_error,
            "next_attempt": time(self.next_attempt),
        })
    }
}

impl JsonShape for ReloadConfigResponse {
    fn json(&self) -> Value {
        let problems: Vec<Value> = self.problems.iter().map(JsonShape::json).collect();
        json!({ "changed": self.changed, "needs_restart": self.needs_restart, "problems": problems })
    }
}

impl JsonShape for FileProblem {
    fn json(&self) -> Value {
        json!({ "file": self.file, "line": self.line, "message": self.message })
    }
}

impl JsonShape for Instance {
    fn json(&self) -> Value {
        json!({
            "service_name": self.service_name,
            "instance_name": self.instance_name,
            "maintenance_port": self.maintenance_port,
            "connected": self.connected,
            "connected_at": time(self.connected_at),
            "last_activity": time(self.last_activity),
            "routes_active": self.routes_active,
            "routes_staged": self.routes_staged,
            "last_apply": time(self.last_apply),
            "revision": self.revision,
            "traffic_percent": self.traffic_percent,
            "routes_in_maintenance": self.routes_in_maintenance,
            "in_flight": self.in_flight,
            "token": self.token_name,
            "lease": self.lease,
            "expires_at": time(self.expires_at),
            "owner": self.owner,
            "owner_file": self.owner_file,
            "confirmation": maybe(self.confirmation.as_ref()),
            "metadata": self.metadata.as_ref().map_or_else(|| json!({}), metadata),
        })
    }
}

impl JsonShape for Drain {
    fn json(&self) -> Value {
        json!({
            "active": self.active,
            "started_at": time(self.started_at),
            "duration_seconds": self.duration_seconds,
            "elapsed_seconds": self.elapsed_seconds,
            "remaining_seconds": self.remaining_seconds,
            "traffic_percent": self.traffic_percent,
            "in_flight": self.in_flight,
        })
    }
}

impl JsonShape for InstanceMaintenance {
    fn json(&self) -> Value {
        json!({
            "in_maintenance": self.in_maintenance,
            "maintenance_backend": self.page_url.clone().unwrap_or_default(),
            "entered_at": time(self.entered_at),
        })
    }
}

impl JsonShape for GetInstanceResponse {
    fn json(&self) -> Value {
        let drain = maybe(self.drain.as_ref());
        let maintenance = maybe(self.maintenance.as_ref());
        let instance = self.instance.as_ref().map_or_else(|| json!({}), JsonShape::json);
        joined(instance, json!({ "drain": drain, "maintenance": maintenance }))
    }
}

impl JsonShape for OperatorRoute {
    fn json(&self) -> Value {
        json!({
            "service_name": self.service_name,
            "instance_name": self.instance_name,
            "route_id": self.route_id,
            "domains": self.domains,
            "path": self.path,
            "backend": self.backend_url,
            "priority": self.priority,
            "in_maintenance": self.in_maintenance,
            "traffic_percent": self.traffic_percent,
            "state": circuit(self.state()),
            "failures": self.failures,
            "successes": self.successes,
            "next_attempt": time(self.next_attempt),
            "healthy": self.healthy,
            "last_check": maybe(self.last_check.as_ref()),
            "last_failed_check": maybe(self.last_failed_check.as_ref()),
            "last_failure": maybe(self.last_failure.as_ref()),
        })
    }
}

impl JsonShape for OperatorStats {
    fn json(&self) -> Value {
        let stats = self.stats.clone().unwrap_or_default();
        let codes: Map<String, Value> =
            stats.status_codes.iter().map(|(code, count)| (code.to_string(), json!(count))).collect();
        json!({
            "service_name": self.service_name,
            "instance_name": self.instance_name,
            "route_id": stats.route_id,
            "requests": stats.requests,
            "errors": stats.errors,
            "avg_latency_ms": stats.avg_latency_ms,
            "p50_latency_ms": stats.p50_latency_ms,
            "p95_latency_ms": stats.p95_latency_ms,
            "p99_latency_ms": stats.p99_latency_ms,
            "bytes_sent": stats.bytes_sent,
            "bytes_received": stats.bytes_received,
            "status_codes": codes,
            "in_flight": stats.in_flight,
        })
    }
}

/// Returns the keys of both objects.
pub(super) fn joined(one: Value, other: Value) -> Value {
    match (one, other) {
        (Value::Object(mut one), Value::Object(other)) => {
            one.extend(other);
            Value::Object(one)
        }
        (one, _) => one,
    }
}
