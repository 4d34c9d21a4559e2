//! The store: keeps the registry in an `SQLite` database.
//!
//! It decides nothing: it writes each batch of changes in one transaction and returns the changes at a start. Only
//! this module names `sqlx`. Invariants: a failed commit leaves nothing behind, and the next commit can succeed; a
//! precious change is on disk once its commit returns; a file that cannot be used is not touched.

mod audit_rows;
mod commit;
mod commit_outcome;
mod config_rows;
mod failure;
mod file_identity;
mod load;
mod location;
mod maintenance_rows;
mod open;
mod open_error;
mod pending_rows;
mod plan;
#[cfg(test)]
mod samples;
mod session_rows;
mod sqlite;
mod statements;
mod successor;
mod sweep;
#[cfg(test)]
mod tests;
mod value;

pub use load::LoadError;
pub use location::{file_of, sizes_of};
pub use open_error::OpenError;
pub use sqlite::Sqlite;
pub use successor::{SuccessorClaim, has_successor};
