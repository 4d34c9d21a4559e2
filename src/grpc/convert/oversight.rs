//! What operators see, as messages.

use crate::domain::BreakerState;
use crate::grpc::proto;
use crate::registry::queries::explain::{CandidateView, ExplainOutcome, ExplainView, MemberView};
use crate::registry::queries::operator_views::{
    InstanceDetail, InstanceView, OperatorRouteView, OperatorStatsView, OverviewView,
};

use super::{count, structure, timestamp};

/// A share of traffic in whole percent.
fn percent(percent: u64) -> u32 {
    u32::try_from(percent).unwrap_or(100)
}

fn state(state: BreakerState) -> i32 {
    proto::CircuitState::from(state).into()
}

impl From<OverviewView> for proto::GetOverviewResponse {
    fn from(view: OverviewView) -> Self {
        Self {
            version: view.version.to_owned(),
            started_at: Some(timestamp(view.started_at)),
            uptime_seconds: view.uptime_seconds,
            revision: view.revision,
            services: count(view.services),
            instances: count(view.instances),
            instances_connected: count(view.instances_connected),
            instances_draining: count(view.instances_draining),
            instances_in_maintenance: count(view.instances_in_maintenance),
            routes_active: count(view.routes_active),
        }
    }
}

impl From<InstanceView> for proto::Instance {
    fn from(view: InstanceView) -> Self {
        Self {
            metadata: Some(structure(view.metadata.get())),
            service_name: view.service_name,
            instance_name: view.instance_name,
            maintenance_port: view.maintenance_port.into(),
            connected: view.connected,
            connected_at: Some(timestamp(view.connected_at)),
            last_activity: Some(timestamp(view.last_activity)),
            routes_active: count(view.routes_active),
            routes_staged: count(view.routes_staged),
            last_apply: view.last_apply.map(timestamp),
            revision: view.revision,
            traffic_percent: percent(view.traffic_percent),
            routes_in_maintenance: count(view.routes_in_maintenance),
            in_flight: view.in_flight,
            token_name: view.token,
        }
    }
}

impl From<InstanceDetail> for proto::GetInstanceResponse {
    fn from(view: InstanceDetail) -> Self {
        let proto::GetMaintenanceResponse { in_maintenance, page_url, entered_at } = view.maintenance.into();
        Self {
            instance: Some(view.instance.into()),
            drain: view.drain.map(Into::into),
            maintenance: Some(proto::InstanceMaintenance { in_maintenance, page_url, entered_at }),
        }
    }
}

impl From<OperatorRouteView> for proto::OperatorRoute {
    fn from(view: OperatorRouteView) -> Self {
        let circuit = view.circuit;
        Self {
            service_name: view.service_name,
            instance_name: view.instance_name,
            route_id: view.route_id.to_string(),
            domains: view.domains,
            path: view.path,
            backend_url: view.backend,
            priority: view.priority,
            in_maintenance: view.in_maintenance,
            traffic_percent: percent(view.traffic_percent),
            state: state(circuit.state),
            failures: circuit.failures,
            successes: circuit.successes,
            last_failure: circuit.last_failure.map(timestamp),
            next_attempt: circuit.next_attempt.map(timestamp),
            healthy: circuit.healthy,
            last_check: circuit.last_check.map(Into::into),
            last_failed_check: circuit.last_failed_check.map(Into::into),
        }
    }
}

impl From<OperatorStatsView> for proto::OperatorStats {
    fn from(view: OperatorStatsView) -> Self {
        let OperatorStatsView { service_name, instance_name, stats } = view;
        Self { service_name, instance_name, stats: Some(stats.into()) }
    }
}

impl From<ExplainView> for proto::ExplainResponse {
    fn from(view: ExplainView) -> Self {
        Self {
            host: view.host,
            path: view.path,
            method: view.method,
            staged: view.configuration == "staged",
            problem: view.problem,
            outcome: proto::Outcome::from(view.outcome).into(),
            reason: view.reason,
            candidates: view.candidates.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<ExplainOutcome> for proto::Outcome {
    fn from(outcome: ExplainOutcome) -> Self {
        match outcome {
            ExplainOutcome::Forwarded => proto::Outcome::Forwarded,
            ExplainOutcome::Maintenance => proto::Outcome::Maintenance,
            ExplainOutcome::Unavailable => proto::Outcome::Unavailable,
            ExplainOutcome::NoRoute => proto::Outcome::NoRoute,
        }
    }
}

impl From<CandidateView> for proto::Candidate {
    fn from(view: CandidateView) -> Self {
        Self {
            service_name: view.service_name,
            domain: view.domain,
            path: view.path,
            priority: view.priority,
            wins: view.wins,
            rule: view.rule,
            members_total: count(view.members_total),
            members: view.members.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<MemberView> for proto::Member {
    fn from(view: MemberView) -> Self {
        Self {
            instance_name: view.instance_name,
            route_id: view.route_id.to_string(),
            backend_url: view.backend,
            healthy: view.healthy,
            state: state(view.state),
            in_maintenance: view.in_maintenance,
            traffic_percent: percent(view.traffic_percent),
            takes_requests: view.takes_requests,
            last_check: view.last_check.map(Into::into),
            last_failed_check: view.last_failed_check.map(Into::into),
        }
    }
}
