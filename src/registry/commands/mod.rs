//! Commands: calls that may change something. Each decides on a catalog without changing it.
//!
//! The code is pure: the time is an argument, and nothing reads a clock, waits or does IO.

pub(crate) mod announce;
pub(crate) mod apply;
pub(crate) mod breaker;
pub(crate) mod confirm;
pub(crate) mod conflicts;
pub(crate) mod decision;
pub(crate) mod drain;
pub(crate) mod guard;
pub(crate) mod holder;
pub(crate) mod maintenance;
pub(crate) mod observe;
pub(crate) mod owned_instances;
pub(crate) mod revert;
pub(crate) mod routes;
pub(crate) mod services;
pub(crate) mod session_edit;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod takeover;
pub(crate) mod target_selector;

pub use announce::*;
pub use apply::*;
pub use breaker::*;
pub use confirm::*;
pub use decision::*;
pub use drain::*;
pub use maintenance::*;
pub use observe::*;
pub use owned_instances::*;
pub use revert::*;
pub use routes::*;
pub use services::*;
pub use sessions::*;
pub use settings::*;
pub use target_selector::*;
