//! Backups of the store: one file with everything, made from a running server, and restored while none runs.
//!
//! `archive` is the form of the file, `make` makes one, `restore` puts one in place of a store. It knows no interface and
//! no rows: `store` reads and writes databases. Invariants: a backup is the store as of one commit; a file that is not a
//! whole backup changes nothing; at every moment of a restore, the old store or the new one is in its place, whole.

mod archive;
mod error;
mod make;
mod manifest;
mod restore;
mod swap;
#[cfg(test)]
mod tests;

pub use archive::{CONTENT_TYPE, verify};
pub use error::{ArchiveFault, RestoreError};
pub use make::{Backup, make};
pub use manifest::{DatabaseEntry, Manifest};
pub use restore::{RestorePlace, Restored, check, restore};
