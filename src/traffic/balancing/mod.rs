//! Selecting one endpoint among the members of a pool.
//!
//! `endpoint` decides on the eligibility of a member; this module selects one of the eligible members for a request.

mod balancer;
mod pool;

pub use super::hash::member_key;
pub use balancer::{Members, NoEndpoint, SelectionInput, select};
pub use pool::Pool;
