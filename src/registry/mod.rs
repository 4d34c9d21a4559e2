//! Decides on commands, keeps the catalog, and runs the one task that changes it.
//!
//! A command's life: [`Registry::execute`] → mailbox → `decide` on a draft → the draft absorbs the changes →
//! one commit for the whole batch → publish → answer. A query is answered from what is published, without queueing.
//! Nothing here does IO: the store, the routing table and the backends stand behind the traits in `ports`.

pub mod apply_options;
pub mod audit;
mod call_names;
pub mod calls;
pub mod commands;
pub mod config_changes;
pub mod exports;
pub mod instance_config;
pub mod instance_outcomes;
mod leases;
mod limits;
mod ports;
pub mod queries;
mod registration_tokens;
pub mod revisions;
mod rules;
mod runtime;
mod server_state;

pub use crate::clock::Reading as ClockReading;
pub use audit::{AuditRecord, CallMark, CallOrigin, Interface};
pub use call_names::{OTHER_CALL, call_label, call_name};
pub use calls::{Call, Command, CommandCall, Query, QueryCall, Reconnected, RevertRequest, RevisionsRequest};
pub use commands::{Release, Reply, Verification};
pub use limits::RegistryLimits;
pub use ports::{
    AuditBatch, AuditChunk, AuditRead, BoxFuture, EntriesRead, HeldFile, PageResponse, PageTrust, Publish,
    RevisionsRead, Store, StoreError, StoredState, Traffic,
};
pub use queries::Answer;
pub use registration_tokens::RegistrationTokens;
pub use rules::RegistryRules;
pub use runtime::call_counts::QueryTally;
pub use runtime::event_hub::{Mailbox, MailboxKind, MailboxMessage};
pub use runtime::event_stream::{EventStream, StreamItem};
pub use runtime::large_read_permits::LargeReadPermit;
pub use runtime::open::open;
pub use runtime::registry::Registry;
pub use runtime::snapshot::{BackupPermit, StoreSnapshot};
pub use runtime::totals::RegistryTotals;
pub use runtime::writer::Writer;
pub use runtime::writer_counts::{CommandObserver, EndedCommand, WriterTotals};
pub use server_state::{CertificateView, CertificatesView, FileProblem, ReloadRequest, ReloadView};

#[cfg(test)]
mod tests;
