//! The error of a read of the stored registry.

/// The reason why the stored registry cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The database cannot be read.
    #[error("the database cannot be read: {0}")]
    Read(#[from] sqlx::Error),
    /// This version cannot read a row.
    #[error("{place}: {why}")]
    ConfigRow {
        /// The row.
        place: String,
        /// The reason.
        why: String,
    },
}
