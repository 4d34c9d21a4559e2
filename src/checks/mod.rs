//! Health checks: probes the backends of all active routes again and again, and records the results.

mod checker;
mod grpc_health;
mod probe;

pub use checker::Checker;
