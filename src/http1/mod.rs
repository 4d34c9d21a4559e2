//! HTTP/1.1 as backends speak it: what stands between their bytes and hyper.

mod client;
mod io;
mod repair;
mod upstream_io;

pub(crate) use client::{SingleRequest, client_builder};
pub(crate) use io::{move_bytes, poll_write_slices};
pub(crate) use upstream_io::{ResponseBudget, UpstreamIo, is_head_too_large};
