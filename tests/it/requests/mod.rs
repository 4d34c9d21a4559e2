//! Operators see single requests: the id of each, the reasons of those that failed, the access log, and taps.

mod access_log;
mod failed;
mod ids;
mod refused_heads;
mod spans;
mod taps;

use serde_json::Value;

use crate::server::eventually;

/// The lines of a file once there are so many, each as JSON.
pub fn json_lines(path: &std::path::Path, count: usize) -> Vec<Value> {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    eventually("the lines are written", || read().lines().count() >= count);
    let text = read();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}
