//! Finding the pool of a request: its host, then its path.
//!
//! It selects no endpoint; that is `balancing`.

mod host_paths;
mod request_host;
mod sweep;
mod table;

pub use request_host::request_host;
pub use table::RoutingTable;
