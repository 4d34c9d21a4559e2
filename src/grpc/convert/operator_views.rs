//! Converts payloads for operators into messages. Each payload is taken apart without `..`, so that a forgotten field
//! does not compile.

use crate::domain::BreakerState;
use crate::grpc::proto;
use crate::registry::queries::explain::{
    CandidateView, ExplainOutcome, ExplainView, ExplainedConfiguration, MemberView,
};
use crate::registry::queries::operator_views::{
    InstanceDetail, InstanceView, OperatorRouteView, OperatorStatsView, OverviewView,
};
use crate::registry::queries::traffic_totals::{LatencyBucket, TrafficTotals};
use crate::registry::queries::views::{CheckOutcomeView, FailureView};
use crate::registry::{CertificateView, FileProblem};

use super::views::names;
use super::{count, structure, timestamp};

/// Converts a share of traffic in whole percent.
fn percent(percent: u64) -> u32 {
    u32::try_from(percent).unwrap_or(100)
}

fn circuit_state(state: BreakerState) -> i32 {
    proto::CircuitState::from(state).into()
}

impl From<OverviewView> for proto::GetOverviewResponse {
    fn from(view: OverviewView) -> Self {
        let OverviewView {
            version,
            started_at,
            uptime_seconds,
            revision,
            services,
            instances,
            instances_connected,
            instances_draining,
            instances_in_maintenance,
            routes_active,
            certificate_expires_at,
            config_problems,
            traffic,
        } = view;
        Self {
            version: version.to_owned(),
            started_at: Some(timestamp(started_at)),
            uptime_seconds,
            revision,
            services: count(services),
            instances: count(instances),
            instances_connected: count(instances_connected),
            instances_draining: count(instances_draining),
            instances_in_maintenance: count(instances_in_maintenance),
            routes_active: count(routes_active),
            certificate_expires_at: certificate_expires_at.map(timestamp),
            config_problems: config_problems.into_iter().map(Into::into).collect(),
            traffic: Some(traffic.into()),
        }
    }
}

impl From<TrafficTotals> for proto::TrafficTotals {
    fn from(totals: TrafficTotals) -> Self {
        let TrafficTotals {
            requests,
            status_codes,
            unrouted,
            in_flight,
            retries,
            bytes_sent,
            bytes_received,
            latency_sum_ms,
            latencies,
        } = totals;
        Self {
            requests,
            status_codes: status_codes.into_iter().map(|(code, count)| (code.into(), count)).collect(),
            unrouted,
            in_flight,
            retries,
            bytes_sent,
            bytes_received,
            latency_sum_ms,
            latencies: latencies
                .into_iter()
                .map(|LatencyBucket { at_most_ms, count }| proto::LatencyBucket { at_most_ms, count })
                .collect(),
        }
    }
}

impl From<CertificateView> for proto::Certificate {
    fn from(view: CertificateView) -> Self {
        let CertificateView {
            names,
            port,
            source,
            file,
            state,
            not_before,
            not_after,
            issuer,
            serial,
            last_error,
            next_attempt,
        } = view;
        Self {
            names,
            port: port.to_owned(),
            source: source.to_owned(),
            file,
            state: state.to_owned(),
            not_before: not_before.map(timestamp),
            not_after: not_after.map(timestamp),
            issuer,
            serial,
            last_error,
            next_attempt: next_attempt.map(timestamp),
        }
    }
}

impl From<FileProblem> for proto::FileProblem {
    fn from(view: FileProblem) -> Self {
        let FileProblem { file, line, message } = view;
        Self { file, line, message }
    }
}

impl From<InstanceView> for proto::Instance {
    fn from(view: InstanceView) -> Self {
        let InstanceView {
            service_name,
            instance_name,
            maintenance_port,
            connected,
            connected_at,
            last_activity,
            routes_active,
            routes_staged,
            last_apply,
            revision,
            traffic_percent,
            routes_in_maintenance,
            in_flight,
            token,
            owner,
            owner_file,
            metadata,
            lease,
            expires_at,
            confirmation,
        } = view;
        Self {
            metadata: Some(structure(metadata.as_str())),
            lease: lease.to_string(),
            expires_at: expires_at.map(timestamp),
            confirmation: confirmation.map(Into::into),
            service_name: service_name.to_string(),
            instance_name: instance_name.to_string(),
            maintenance_port: maintenance_port.into(),
            connected,
            connected_at: Some(timestamp(connected_at)),
            last_activity: Some(timestamp(last_activity)),
            routes_active: count(routes_active),
            routes_staged: count(routes_staged),
            last_apply: last_apply.map(timestamp),
            revision,
            traffic_percent: percent(traffic_percent),
            routes_in_maintenance: count(routes_in_maintenance),
            in_flight,
            token_name: token,
            owner: owner.to_owned(),
            owner_file,
        }
    }
}

impl From<InstanceDetail> for proto::GetInstanceResponse {
    fn from(view: InstanceDetail) -> Self {
        let InstanceDetail { instance, drain, maintenance } = view;
        let proto::GetMaintenanceResponse { in_maintenance, page_url, entered_at } = maintenance.into();
        Self {
            instance: Some(instance.into()),
            drain: drain.map(Into::into),
            maintenance: Some(proto::InstanceMaintenance { in_maintenance, page_url, entered_at }),
        }
    }
}

impl From<OperatorRouteView> for proto::OperatorRoute {
    fn from(view: OperatorRouteView) -> Self {
        let OperatorRouteView {
            service_name,
            instance_name,
            route_id,
            domains,
            path,
            backend,
            priority,
            in_maintenance,
            traffic_percent,
            state,
            failures,
            successes,
            next_attempt,
            healthy,
            last_check,
            last_failed_check,
            last_failure,
        } = view;
        Self {
            service_name: service_name.to_string(),
            instance_name: instance_name.to_string(),
            route_id: route_id.to_string(),
            domains: names(domains),
            path: path.to_string(),
            backend_url: backend.to_string(),
            priority,
            in_maintenance,
            traffic_percent: percent(traffic_percent),
            state: circuit_state(state),
            failures,
            successes,
            next_attempt: next_attempt.map(timestamp),
            healthy,
            last_check: last_check.map(Into::into),
            last_failed_check: last_failed_check.map(Into::into),
            last_failure: last_failure.map(Into::into),
        }
    }
}

impl From<OperatorStatsView> for proto::OperatorStats {
    fn from(view: OperatorStatsView) -> Self {
        let OperatorStatsView { service_name, instance_name, stats } = view;
        Self {
            service_name: service_name.to_string(),
            instance_name: instance_name.to_string(),
            stats: Some(stats.into()),
        }
    }
}

impl From<ExplainView> for proto::ExplainResponse {
    fn from(view: ExplainView) -> Self {
        let ExplainView { host, path, method, configuration, problem, outcome, reason, candidates } = view;
        Self {
            host,
            path,
            method,
            staged: configuration == ExplainedConfiguration::Staged,
            problem,
            outcome: proto::Outcome::from(outcome).into(),
            reason,
            candidates: candidates.into_iter().map(Into::into).collect(),
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
        let CandidateView { service_name, domain, path, priority, wins, rule, members_total, members } = view;
        Self {
            service_name,
            domain,
            path,
            priority,
            wins,
            rule,
            members_total: count(members_total),
            members: members.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<MemberView> for proto::Member {
    fn from(view: MemberView) -> Self {
        let MemberView {
            instance_name,
            route_id,
            backend,
            healthy,
            state,
            in_maintenance,
            traffic_percent,
            takes_requests,
            last_check,
            last_failed_check,
            last_failure,
        } = view;
        Self {
            instance_name: instance_name.to_string(),
            route_id: route_id.to_string(),
            backend_url: backend.to_string(),
            healthy,
            state: circuit_state(state),
            in_maintenance,
            traffic_percent: percent(traffic_percent),
            takes_requests,
            last_check: last_check.map(Into::into),
            last_failed_check: last_failed_check.map(Into::into),
            last_failure: last_failure.map(Into::into),
        }
    }
}

impl From<CheckOutcomeView> for proto::HealthCheckOutcome {
    fn from(view: CheckOutcomeView) -> Self {
        let CheckOutcomeView { at, ok, reason } = view;
        Self { at: Some(timestamp(at)), ok, reason }
    }
}

impl From<FailureView> for proto::FailedRequest {
    fn from(view: FailureView) -> Self {
        let FailureView { at, reason } = view;
        Self { at: Some(timestamp(at)), reason }
    }
}
