//! What queries answer, as messages.

use crate::domain::{BreakerState, Span};
use crate::grpc::proto;
use crate::registry::queries::views::{
    BackendView, BreakerView, CheckView, DiffView, DrainView, MaintenanceView, RouteStatus, RouteView, RoutesDiff,
    SessionView, StatsView, TallyView,
};

use super::{duration, structure, timestamp};

/// A count. No machine counts further than this.
pub(in crate::grpc) fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn names(ids: Vec<impl ToString>) -> Vec<String> {
    ids.into_iter().map(|id| id.to_string()).collect()
}

impl From<SessionView> for proto::GetSessionResponse {
    fn from(view: SessionView) -> Self {
        Self {
            metadata: Some(structure(view.metadata.get())),
            session_id: view.session_id,
            service_name: view.service_name,
            instance_name: view.instance_name,
            maintenance_port: view.maintenance_port.into(),
            connected_at: Some(timestamp(view.connected_at)),
            uptime_seconds: view.uptime_seconds,
            last_activity: Some(timestamp(view.last_activity)),
            routes_active: count(view.routes_active),
            routes_staged: count(view.routes_staged),
            last_apply: view.last_apply.map(timestamp),
            revision: view.revision,
        }
    }
}

impl From<RouteView> for proto::Route {
    fn from(view: RouteView) -> Self {
        let status = match view.status {
            RouteStatus::Active => proto::RouteStatus::Active,
            RouteStatus::Staged => proto::RouteStatus::Staged,
            RouteStatus::PendingRemoval => proto::RouteStatus::PendingRemoval,
        };
        Self {
            route_id: view.route_id.to_string(),
            domains: view.domains,
            path: view.path,
            backend_url: view.backend,
            priority: view.priority,
            status: status.into(),
        }
    }
}

impl From<DiffView> for proto::DiffConfigResponse {
    fn from(view: DiffView) -> Self {
        let RoutesDiff { added, removed, modified } = view.routes;
        Self {
            routes: Some(proto::RoutesDiff { added: names(added), removed: names(removed), modified: names(modified) }),
            headers: Some(view.headers.into()),
            options: Some(view.options.into()),
            health: Some(view.health.into()),
            rate_limits: Some(view.ratelimit.into()),
            circuit_breakers: Some(view.circuit.into()),
            warnings: view.warnings,
        }
    }
}

impl From<BackendView> for proto::TestBackendResponse {
    fn from(view: BackendView) -> Self {
        use proto::test_backend_response::{Reachable, Result, Unreachable};
        let result = match view {
            BackendView::Reachable { response_time_ms, status_code, tls_valid, .. } => Result::Reachable(Reachable {
                response_time: Some(duration(Span::from_millis(response_time_ms))),
                status_code: status_code.into(),
                tls_valid,
            }),
            BackendView::Unreachable { error, .. } => Result::Unreachable(Unreachable { error }),
        };
        Self { result: Some(result) }
    }
}

impl From<TallyView> for proto::Tally {
    fn from(view: TallyView) -> Self {
        Self { added: count(view.added), removed: count(view.removed), modified: count(view.modified) }
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
        let numbers = view.numbers;
        Self {
            state: proto::CircuitState::from(numbers.state).into(),
            failures: numbers.failures,
            successes: numbers.successes,
            last_failure: numbers.last_failure.map(timestamp),
            next_attempt: numbers.next_attempt.map(timestamp),
            healthy: numbers.healthy,
            in_maintenance: view.in_maintenance,
            draining: view.draining,
            last_check: numbers.last_check.map(Into::into),
            last_failed_check: numbers.last_failed_check.map(Into::into),
        }
    }
}

impl From<CheckView> for proto::HealthCheckResult {
    fn from(view: CheckView) -> Self {
        Self { at: Some(timestamp(view.at)), error: view.error }
    }
}

impl From<DrainView> for proto::Drain {
    fn from(view: DrainView) -> Self {
        Self {
            active: view.active,
            started_at: Some(timestamp(view.started_at)),
            duration_seconds: view.duration_seconds,
            elapsed_seconds: view.elapsed_seconds,
            remaining_seconds: view.remaining_seconds,
            // A percentage.
            traffic_percent: u32::try_from(view.traffic_percent).unwrap_or(100),
            in_flight: view.in_flight,
        }
    }
}

impl From<MaintenanceView> for proto::GetMaintenanceResponse {
    fn from(view: MaintenanceView) -> Self {
        Self {
            in_maintenance: names(view.in_maintenance),
            page_url: Some(view.maintenance_backend).filter(|page| !page.is_empty()),
            entered_at: view.entered_at.map(timestamp),
        }
    }
}

impl From<StatsView> for proto::RouteStats {
    fn from(view: StatsView) -> Self {
        let numbers = view.numbers;
        Self {
            route_id: view.route_id.to_string(),
            requests: numbers.requests,
            errors: numbers.errors,
            avg_latency_ms: numbers.avg_latency_ms,
            p50_latency_ms: numbers.p50_latency_ms,
            p95_latency_ms: numbers.p95_latency_ms,
            p99_latency_ms: numbers.p99_latency_ms,
            bytes_sent: numbers.bytes_sent,
            bytes_received: numbers.bytes_received,
            status_codes: numbers.status_codes.into_iter().map(|(status, count)| (status.into(), count)).collect(),
            in_flight: numbers.in_flight,
        }
    }
}
