//! The answers to queries, for all interfaces.

use crate::domain::Target;

use super::configuration::{ConfigView, DiffView};
use super::session::{RouteView, SessionView};
use super::status::{BreakerView, DrainView, MaintenanceView, StatsView};

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

impl Answer {
    /// Returns the statistics of one route, or of all.
    pub(crate) fn of_stats(target: Target, mut views: Vec<StatsView>) -> Self {
        let one = target.route().and_then(|_| views.pop());
        one.map_or(Answer::Stats(views), |view| Answer::RouteStats(Box::new(view)))
    }
}
