//! Health checks: what they say of an endpoint, and when each one is due.
//!
//! It sends no probe; the checker does that.

mod endpoint_health;
mod probe_spec;
mod queue;
mod schedule;

pub use endpoint_health::{
    CheckKind, EndpointHealth, HealthState, HealthTransition, ProbeResult, SLOW_START, jittered_interval,
};
pub use probe_spec::{CheckId, CheckTarget, ProbeSpec};
#[cfg(test)]
pub(super) use queue::PER_BACKEND_MAX;
pub use schedule::CheckSchedule;
