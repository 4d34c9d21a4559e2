//! HTTP/1.1 to backends: requests are written, heads and bodies of responses are read.
//!
//! The request path of the proxy is polled by the task of its client's connection, without a task or a channel between them.
//! Invariants: a head that can be read in two ways is an error; all that is read ahead is bounded.

mod chunked;
mod client;
mod connection;
mod io;
mod normalize;
mod request_head;
mod request_writer;
mod response_error;
mod response_head;
#[cfg(test)]
mod tests;
mod upgraded;

pub(crate) use client::SingleRequest;
pub(crate) use connection::{Http1Connection, ReadHead};
pub(crate) use io::{move_bytes, poll_write_slices};
pub(crate) use normalize::interim_for_client;
pub(crate) use request_head::write_field;
pub(crate) use response_error::ResponseError;
pub(crate) use upgraded::UpgradedStream;

/// The most bytes of a response head and the interim responses before it. A longer one is a 502.
const HEAD_BYTES_MAX: usize = 128 * 1024;
