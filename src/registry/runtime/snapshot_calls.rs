//! The calls for a backup: the right to make one, and a snapshot of the store.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::domain::{Error, Kind};

use super::registry::{Registry, stopping};
use super::snapshot::{BackupPermit, SnapshotRequest, StoreSnapshot};

impl Registry {
    /// Takes the right to make a backup, until the permit is dropped.
    ///
    /// # Errors
    /// `Limited` while another backup is made.
    pub fn permit_backup(&self) -> Result<BackupPermit, Error> {
        let turn = Arc::clone(&self.snapshots.turns).try_acquire_owned();
        turn.map(BackupPermit)
            .map_err(|_| Error::new(Kind::Limited, "another backup is being made; only one at a time"))
    }

    /// Holds the store's file still, so that it can be copied. Changes are stored meanwhile.
    ///
    /// # Errors
    /// `Refused` for a store in memory, `Unavailable` if the store cannot be written or the server stops.
    pub async fn snapshot(&self) -> Result<StoreSnapshot, Error> {
        let (answer, answered) = oneshot::channel();
        self.snapshots.requests.send(SnapshotRequest { answer }).await.map_err(|_| stopping())?;
        let held = answered.await.map_err(|_| stopping())?.map_err(|error| {
            tracing::error!(%error, "the store cannot be held still for a backup");
            Error::new(Kind::Unavailable, "the store cannot be copied now; try again")
        })?;
        held.ok_or_else(|| {
            Error::new(Kind::Refused, "the store is in memory only (store.url); there is nothing to back up")
        })
    }
}
