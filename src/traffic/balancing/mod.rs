//! Selecting one endpoint among the members of a pool.
//!
//! What makes a member eligible is decided in `endpoint`; which eligible member gets a request is decided here.

mod balancer;
mod pool;

pub use super::hash::member_key;
pub use balancer::{Members, NoEndpoint, SelectionInput, select};
pub use pool::Pool;
