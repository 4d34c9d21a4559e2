//! The manifest of a backup: its content and its origin.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::domain::Time;
use crate::store::StoreFacts;

/// The version of the form of a backup that this program writes, and the newest that it reads.
pub(super) const FORMAT: u64 = 1;

/// The name of the database's file.
pub(super) const DATABASE: &str = "signalbox.db";

/// The manifest of a backup. Later versions may add keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the form of the file.
    pub format: u64,
    /// The version of Signalbox that made it.
    pub signalbox: String,
    /// The time at which it was made, in RFC 3339.
    pub made_at: String,
    /// The name of the store, which stays the same for ever.
    pub store: String,
    /// The version of the schema of the database.
    pub schema: i64,
    /// The revision of the registry.
    pub revision: u64,
    /// The number of sessions.
    pub sessions: u64,
    /// The number of active routes.
    pub routes: u64,
    /// The database.
    pub database: DatabaseEntry,
}

/// The database in a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseEntry {
    /// The name of its file in the backup.
    pub file: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

/// The keys that every version has.
#[derive(Debug, Deserialize)]
pub(super) struct ManifestVersion {
    pub(super) format: u64,
    #[serde(default)]
    pub(super) signalbox: String,
}

impl Manifest {
    /// Returns the manifest of a backup of a store that is made now.
    pub(super) fn of(facts: StoreFacts, made_at: Time, bytes: u64, sha256: String) -> Self {
        let StoreFacts { identity, schema, revision, sessions, routes } = facts;
        Self {
            format: FORMAT,
            signalbox: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: made_at.to_string(),
            store: identity,
            schema,
            revision,
            sessions,
            routes,
            database: DatabaseEntry { file: DATABASE.to_owned(), bytes, sha256 },
        }
    }

    /// Returns the text in the backup.
    pub(super) fn text(&self) -> String {
        // Cannot fail: the values are numbers and texts.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { made_at, signalbox, revision, sessions, routes, .. } = self;
        write!(out, "a backup of {made_at} by Signalbox {signalbox}, ")?;
        write!(out, "{sessions} sessions, {routes} routes, revision {revision}")
    }
}
