//! The bounds of the registry.

use crate::domain::{LeaseBound, Span};

/// The bounds of the registry. A reply names the bound that a call reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryLimits {
    /// The lease of sessions that ask for none, and the time that replaced routes serve.
    pub grace: Span,
    /// The leases that sessions may ask for.
    pub lease_max: LeaseBound,
    /// The time that untouched staged changes live.
    pub staged_ttl: Span,
    /// The number of sessions, with replaced ones.
    pub sessions_max: usize,
    /// The number of sessions of one client address; `None` where addresses are not counted.
    pub sessions_per_origin_max: Option<usize>,
    /// The number of routes of one session, active or staged.
    pub routes_per_session_max: usize,
    /// The number of headers, options, checks, limits and breakers of one session.
    pub settings_per_session_max: usize,
    /// The number of maintenance requests of one session that wait for their outcome.
    pub pending_per_session_max: usize,
    /// The number of event streams that may be open, over gRPC and REST.
    pub streams_max: usize,
    /// The time that a record of the audit is kept.
    pub audit_keep: Span,
    /// The number of records of the audit that are kept.
    pub audit_records_max: usize,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self {
            grace: Span::from_secs(5 * 60),
            lease_max: LeaseBound::Any,
            staged_ttl: Span::from_secs(30 * 60),
            sessions_max: 20_000,
            sessions_per_origin_max: Some(5_000),
            routes_per_session_max: 200_000,
            settings_per_session_max: 200_000,
            pending_per_session_max: 64,
            streams_max: 10_000,
            audit_keep: Span::from_secs(90 * 24 * 60 * 60),
            audit_records_max: 100_000,
        }
    }
}
