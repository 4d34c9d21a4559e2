//! Shares of what is shared: a greedy peer beside a quiet one.

mod checks;
mod connections;
mod control;
mod http2;
mod memory;
mod probes;
mod sessions;
