//! Certificates from a certificate authority by ACME (RFC 8555), for the domains of active routes.
//!
//! `plan` decides: the names that need a certificate, the time of each attempt, and the way to prove control of a
//! name. The other files act: they talk to the directory, keep files, and answer challenges. Not here: the
//! certificates that are served (`certificates`) and the port that answers challenges (`proxy`).
//!
//! Invariants: no name gets a certificate that the allow-list does not name; no name waits for another one, except
//! that the orders in flight are bounded and that a name and its wildcard share a TXT record; a failed attempt is never
//! repeated at once, also after a restart; nothing secret is in the log; each file is written as a whole, with mode
//! 0600; a certificate is served until a newer one has come.

mod account;
mod directory;
mod dns_proof;
mod error;
mod folder;
mod hook;
mod order;
mod plan;
mod proofs;
mod record_turns;
mod runner;
mod settings;

pub use dns_proof::{DnsProof, DnsProofError, dns_proof};
pub use folder::FolderError;
pub use plan::{NameStatus, NameStep, PersistentRecord};
pub use runner::{Acme, AcmeError, AcmeParts};
pub use settings::{AcmeSettings, ExternalAccount};
