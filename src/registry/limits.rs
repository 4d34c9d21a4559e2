//! The bounds of the registry.

use crate::domain::Span;

/// The bounds of the registry. Each has a reply that says so when it is hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryLimits {
    /// The time that a session lives without connection and command, and replaced routes serve.
    pub grace: Span,
    /// The time that staged changes live untouched.
    pub staged_ttl: Span,
    /// Sessions, replaced ones included.
    pub sessions_max: usize,
    /// Sessions of one client address; `None` where addresses are not counted.
    pub sessions_per_origin_max: Option<usize>,
    /// Routes that one session may have, active or staged.
    pub routes_per_session_max: usize,
    /// Headers, options, checks, limits and breakers that one session may have.
    pub settings_per_session_max: usize,
    /// Maintenance requests of one session that wait for their outcome.
    pub pending_per_session_max: usize,
    /// Streams of events at once, over all typed doors.
    pub streams_max: usize,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self {
            grace: Span::from_secs(5 * 60),
            staged_ttl: Span::from_secs(30 * 60),
            sessions_max: 20_000,
            sessions_per_origin_max: Some(5_000),
            routes_per_session_max: 200_000,
            settings_per_session_max: 200_000,
            pending_per_session_max: 64,
            streams_max: 10_000,
        }
    }
}
