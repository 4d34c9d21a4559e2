//! HTTP/1.1 to backends: the layer between their connections and hyper.
//!
//! Invariants: hyper reads only heads that have one meaning, and of bounded size.

mod client;
mod io;
mod normalize;
mod upstream_io;

pub(crate) use client::{SingleRequest, client_builder};
pub(crate) use io::{move_bytes, poll_write_slices};
pub(crate) use upstream_io::{ResponseBudget, UpstreamIo, is_head_too_large};
