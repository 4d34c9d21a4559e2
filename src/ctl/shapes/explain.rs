//! The explanation of a request.

use serde_json::{Value, json};

use crate::grpc::proto::{Candidate, ExplainResponse, Member, Outcome};

use super::{JsonShape, circuit, items, maybe};

impl JsonShape for ExplainResponse {
    fn json(&self) -> Value {
        json!({
            "host": self.host,
            "path": self.path,
            "method": self.method,
            "configuration": if self.staged { "staged" } else { "active" },
            "problem": self.problem,
            "outcome": outcome(self.outcome()),
            "reason": self.reason,
            "candidates": items(&self.candidates),
        })
    }
}

/// Returns the name of an outcome.
pub(crate) fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Forwarded => "forwarded",
        Outcome::Maintenance => "maintenance",
        Outcome::Unavailable => "unavailable",
        Outcome::NoRoute => "no_route",
        Outcome::Unspecified => "unknown",
    }
}

impl JsonShape for Candidate {
    fn json(&self) -> Value {
        json!({
            "service_name": self.service_name,
            "domain": self.domain,
            "path": self.path,
            "priority": self.priority,
            "wins": self.wins,
            "rule": self.rule,
            "members_total": self.members_total,
            "members": items(&self.members),
        })
    }
}

impl JsonShape for Member {
    fn json(&self) -> Value {
        json!({
            "instance_name": self.instance_name,
            "route_id": self.route_id,
            "backend": self.backend_url,
            "healthy": self.healthy,
            "state": circuit(self.state()),
            "in_maintenance": self.in_maintenance,
            "traffic_percent": self.traffic_percent,
            "takes_requests": self.takes_requests,
            "last_check": maybe(self.last_check.as_ref()),
            "last_failed_check": maybe(self.last_failed_check.as_ref()),
            "last_failure": maybe(self.last_failure.as_ref()),
        })
    }
}
