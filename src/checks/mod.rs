//! Health checks: probes the backends of all active routes again and again, and records what came of it.

mod checker;
mod fast_path;
mod probe;

pub use checker::Checker;
