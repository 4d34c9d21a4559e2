//! Converts payloads of queries into messages. Each payload is taken apart without `..`, so that a forgotten field does
//! not compile.

use crate::domain::{BreakerState, Span};
use crate::grpc::proto;
use crate::registry::queries::configuration::{DiffView, RoutesDiff, TallyView};
use crate::registry::queries::session::{RouteStatus, RouteView, SessionView};
use crate::registry::queries::status::{BackendView, BreakerView, DrainView, MaintenanceView, StatsView};
use crate::registry::queries::views::{BreakerNumbers, CheckView, RouteNumbers};

use super::{duration, structure, timestamp};

/// Converts a count.
pub(in crate::grpc) fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Converts a list of values into their texts.
pub(super) fn names(values: Vec<impl ToString>) -> Vec<String> {
    values.into_iter().map(|value| value.to_string()).collect()
}

impl From<SessionView> for proto::GetSessionResponse {
    fn from(view: SessionView) -> Self {
        let SessionView {
            session_id,
            service_name,
            instance_name,
            maintenance_port,
            connected_at,
            uptime_seconds,
            last_activity,
            routes_active,
            routes_staged,
            last_apply,
            revision,
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
            session_id,
            service_name: service_name.to_string(),
            instance_name: instance_name.to_string(),
            maintenance_port: maintenance_port.into(),
            connected_at: Some(timestamp(connected_at)),
            uptime_seconds,
            last_activity: Some(timestamp(last_activity)),
            routes_active: count(routes_active),
            routes_staged: count(routes_staged),
            last_apply: last_apply.map(timestamp),
            revision,
        }
    }
}

impl From<RouteView> for proto::Route {
    fn from(view: RouteView) -> Self {
        let RouteView { route_id, id: _, domains, path, backend, priority, status } = view;
        let status = match status {
            RouteStatus::Active => proto::RouteStatus::Active,
            RouteStatus::Staged => proto::RouteStatus::Staged,
            RouteStatus::PendingRemoval => proto::RouteStatus::PendingRemoval,
        };
        Self {
            route_id: route_id.to_string(),
            domains: names(domains),
            path: path.to_string(),
            backend_url: backend.to_string(),
            priority,
            status: status.into(),
        }
    }
}

impl From<DiffView> for proto::DiffConfigResponse {
    fn from(view: DiffView) -> Self {
        let DiffView { routes, headers, options, health, ratelimit, circuit, warnings } = view;
        let RoutesDiff { added, removed, modified } = routes;
        Self {
            routes: Some(proto::RoutesDiff { added: names(added), removed: names(removed), modified: names(modified) }),
            headers: Some(headers.into()),
            options: Some(options.into()),
            health: Some(health.into()),
            rate_limits: Some(ratelimit.into()),
            circuit_breakers: Some(circuit.into()),
            warnings,
        }
    }
}

impl From<BackendView> for proto::TestBackendResponse {
    fn from(view: BackendView) -> Self {
        use proto::test_backend_response::{Reachable, Result, Unreachable};
        let BackendView { reachable: _, response_time_ms, status_code, tls_valid, error } = view;
        let result = match error {
            Some(error) => Result::Unreachable(Unreachable { error }),
            None => Result::Reachable(Reachable {
                response_time: response_time_ms.map(|millis| duration(Span::from_millis(millis))),
                status_code: status_code.unwrap_or_default().into(),
                tls_valid: tls_valid.unwrap_or_default(),
            }),
        };
        Self { result: Some(result) }
    }
}

impl From<TallyView> for proto::Tally {
    fn from(view: TallyView) -> Self {
        let TallyView { added, removed, modified } = view;
        Self { added: count(added), removed: count(removed), modified: count(modified) }
    }
}

impl From<BreakerState> for proto::CircuitState {
    fn from(state: BreakerState) -> Self {
        match state {
            BreakerState::Closed => proto::CircuitState::Closed,
            BreakerState::Open => proto::CircuitState::Open,
            BreakerState::HalfOpen => proto::CircuitState::HalfOpen,
        }
    }
}

impl From<BreakerView> for proto::GetCircuitBreakerResponse {
    fn from(view: BreakerView) -> Self {
        let BreakerView { numbers, in_maintenance, draining } = view;
        let BreakerNumbers {
            state,
            failures,
            successes,
            last_failure,
            next_attempt,
            healthy,
            last_check,
            last_failed_check,
            last_failed_request: _,
            preference: _,
            refuses: _,
        } = numbers;
        Self {
            state: proto::CircuitState::from(state).into(),
            failures,
            successes,
            last_failure: last_failure.map(timestamp),
            next_attempt: next_attempt.map(timestamp),
            healthy,
            in_maintenance,
            draining,
            last_check: last_check.map(Into::into),
            last_failed_check: last_failed_check.map(Into::into),
        }
    }
}

impl From<CheckView> for proto::HealthCheckResult {
    fn from(view: CheckView) -> Self {
        let CheckView { at, error } = view;
        Self { at: Some(timestamp(at)), error }
    }
}

impl From<DrainView> for proto::Drain {
    fn from(view: DrainView) -> Self {
        let DrainView {
            active,
            started_at,
            duration_seconds,
            elapsed_seconds,
            remaining_seconds,
            traffic_percent,
            in_flight,
        } = view;
        Self {
            active,
            started_at: Some(timestamp(started_at)),
            duration_seconds,
            elapsed_seconds,
            remaining_seconds,
            // A percentage.
            traffic_percent: u32::try_from(traffic_percent).unwrap_or(100),
            in_flight,
        }
    }
}

impl From<MaintenanceView> for proto::GetMaintenanceResponse {
    fn from(view: MaintenanceView) -> Self {
        let MaintenanceView { in_maintenance, maintenance_backend, entered_at } = view;
        Self {
            in_maintenance: names(in_maintenance),
            page_url: Some(maintenance_backend).filter(|page| !page.is_empty()),
            entered_at: entered_at.map(timestamp),
        }
    }
}

impl From<StatsView> for proto::RouteStats {
    fn from(view: StatsView) -> Self {
        let StatsView {
            route_id,
            numbers:
                RouteNumbers {
                    requests,
                    errors,
                    avg_latency_ms,
                    p50_latency_ms,
                    p95_latency_ms,
                    p99_latency_ms,
                    bytes_sent,
                    bytes_received,
                    status_codes,
                    in_flight,
                },
        } = view;
        Self {
            route_id: route_id.to_string(),
            requests,
            errors,
            avg_latency_ms,
            p50_latency_ms,
            p95_latency_ms,
            p99_latency_ms,
            bytes_sent,
            bytes_received,
            status_codes: status_codes.into_iter().map(|(status, count)| (status.into(), count)).collect(),
            in_flight,
        }
    }
}
