//! The store: keeps the registry in an `SQLite` database.
//!
//! It decides nothing: it writes each batch of changes in one transaction and returns the changes at a start. Only
//! this module names `sqlx`. Invariants: a failed commit leaves nothing behind, and the next commit can succeed; a
//! precious change is on disk once its commit returns; a file that cannot be used is not touched.

mod audit_rows;
mod commit;
mod commit_outcome;
mod config_rows;
mod confirmation_rows;
mod examine;
mod failure;
mod file_identity;
mod history_rows;
mod load;
mod load_error;
mod location;
mod maintenance_rows;
mod open;
mod open_error;
mod pending_rows;
mod plan;
mod renew;
#[cfg(test)]
mod samples;
mod session_rows;
mod snapshot;
mod sqlite;
mod statements;
mod successor;
mod sweep;
#[cfg(test)]
mod tests;
mod value;

pub use examine::{FileLock, PresentStore, StoreFacts, examine, lock, settle};
pub use load_error::LoadError;
pub use location::{backup_copy, file_of, place_of, remove_copy, restored_copy, sizes_of};
pub use open_error::OpenError;
pub use renew::{RenewError, adopt, renew};
pub use sqlite::Sqlite;
pub use successor::{SuccessorClaim, has_successor};
