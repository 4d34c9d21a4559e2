//! The answers to queries, for all interfaces.

use super::views::{BreakerView, ConfigView, DiffView, DrainView, MaintenanceView, RouteView, SessionView, StatsView};

/// The answers to queries.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The session is alive.
    Pong,
    /// A session.
    Session(Box<SessionView>),
    /// Its routes.
    Routes(Vec<RouteView>),
    /// A breaker.
    Breaker(BreakerView),
    /// The staged configuration can be applied; the warnings about it.
    Valid(Vec<String>),
    /// The difference that an apply would make.
    Diff(Box<DiffView>),
    /// A drain.
    Drain(DrainView),
    /// Maintenance.
    Maintenance(MaintenanceView),
    /// The active and the staged configuration.
    Config(Box<ConfigView>),
    /// One route's statistics.
    RouteStats(Box<StatsView>),
    /// All routes' statistics.
    Stats(Vec<StatsView>),
}
