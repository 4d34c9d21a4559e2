//! Health checks: probes the backends of all active routes again and again, and records the results.

mod checker;
mod probe;

pub use checker::Checker;
