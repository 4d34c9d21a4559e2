//! Shares of what is shared: a greedy peer beside a quiet one.

mod checks;
mod control;
mod probes;
mod sessions;
