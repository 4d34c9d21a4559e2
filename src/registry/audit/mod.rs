//! The audit: one record for each change of state, with its actor and the way that the call came.
//!
//! Commands decide on records as they decide on changes; the writer completes them and stores them with the changes.
//! Invariant: a record holds no session id, no token and no other secret.

mod filter;
mod origin;
mod record;
pub(super) mod words;

pub use filter::{ActorFilter, AuditFilter, AuditPage};
pub use origin::{CallMark, CallOrigin, Interface};
pub use record::{Actor, ActorKind, AuditAction, AuditDetails, AuditDraft, AuditRecord};
