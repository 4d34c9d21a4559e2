//! The running parts: the writer, the handle for the interfaces, event streams, and the tasks beside the writer.

mod audit_log;
mod audit_reads;
pub(crate) mod awaited;
mod backend_test;
mod batch;
mod clock_skew;
pub(in crate::registry) mod deadlines;
pub(crate) mod event_hub;
pub(crate) mod event_stream;
mod history;
pub(crate) mod large_read_permits;
mod large_reads;
pub(crate) mod open;
mod operator_reads;
mod probe_permits;
mod readiness;
pub(crate) mod registry;
mod server_calls;
pub(crate) mod snapshot;
mod snapshot_calls;
mod stream_drain;
mod sweep;
pub(crate) mod totals;
mod verification;
pub(crate) mod writer;
pub(crate) mod writer_counts;
