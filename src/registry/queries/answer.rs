//! The shapes that answers to queries have.

use super::views::{BreakerView, ConfigView, DiffView, DrainView, MaintenanceView, RouteView, SessionView, StatsView};

/// The shapes that answers to queries have.
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
    /// The staged configuration would apply; what one should know before.
    Valid(Vec<String>),
    /// The difference that an apply would make.
    Diff(Box<DiffView>),
    /// A drain.
    Drain(DrainView),
    /// Maintenance.
    Maintenance(MaintenanceView),
    /// Configurations.
    Config(Box<ConfigView>),
    /// One route's statistics.
    RouteStats(Box<StatsView>),
    /// All routes' statistics.
    Stats(Vec<StatsView>),
}
