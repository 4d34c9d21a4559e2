//! Queries: calls that change nothing. They are answered from the published catalog and the observations of traffic.

pub(crate) mod answer;
pub(crate) mod configuration;
pub mod event_view;
pub mod explain;
mod member_state;
pub mod operator_views;
pub mod paging;
pub(crate) mod session;
pub(crate) mod status;
pub mod views;

pub use answer::Answer;
pub use status::{BackendTest, CircuitBreakerStatus, StatsGet};
