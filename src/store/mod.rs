//! Keeps the registry in `SQLite`, and reads it back.
//!
//! Decides nothing: it keeps the changes it is given, a batch in a transaction, and gives them back as changes.
//! What must hold: after a commit that failed nothing of it is kept and the next can succeed; a precious change
//! is on the disk when its commit returns; a file that cannot be used is not touched. Only this module names `sqlx`.

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
#[cfg(test)]
mod tests;
mod value;

pub use load::LoadError;
pub use open_error::OpenError;
pub use sqlite::Sqlite;
