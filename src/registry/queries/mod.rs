//! Queries: calls that change nothing. They are answered from the published catalog and the observations of traffic.

pub(crate) mod answer;
pub mod configuration;
pub mod event_view;
pub mod explain;
mod explained_request;
mod host_meant;
mod member_state;
mod near_match;
pub mod operator_views;
pub mod paging;
pub mod revisions;
pub mod route_filter;
pub mod services;
pub mod session;
pub mod status;
pub mod traffic_totals;
pub mod views;

pub use answer::Answer;
pub use status::{BackendTest, CircuitBreakerStatus, StatsGet};
