//! Commands: calls that may change something. Each decides on a catalog without changing it.
//!
//! The code is pure: the time is an argument, and nothing reads a clock, waits or does IO.

pub(crate) mod announce;
pub(crate) mod apply;
pub(crate) mod breaker;
pub(crate) mod conflicts;
pub(crate) mod decision;
pub(crate) mod drain;
pub(crate) mod maintenance;
pub(crate) mod observe;
pub(crate) mod routes;
pub(crate) mod session_edit;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod takeover;
pub(crate) mod target_selector;

pub use announce::Announce;
pub use apply::{ConfigApply, ConfigRollback};
pub use breaker::CircuitBreakerReset;
pub use decision::{Decided, Decision, DecisionContext, Effect, Release, Reply, Verification};
pub use drain::{DrainCancel, DrainStart};
pub use maintenance::{CompleteMaintenance, MaintEnter, MaintExit};
pub use observe::{Observe, Sight};
pub use routes::{NewRoute, RouteAdd, RouteAddBulk, RouteField, RouteRemove, RouteUpdate};
pub use sessions::{ClientShutdown, Disconnect, Expire, Reconnect, Register, Subscribe, Unsubscribe};
pub use settings::{
    CircuitBreakerRemove, CircuitBreakerSet, HeadersRemove, HeadersSet, HealthRemove, HealthSet, OptionsRemove,
    OptionsSet, RatelimitRemove, RatelimitSet,
};
pub use target_selector::TargetSelector;
