//! Reads of the store for lists.
//!
//! The writer owns the store, so it reads too, in small steps between its batches. Invariant: no batch waits for more
//! than one step.

use tokio::sync::{mpsc, oneshot};

use crate::domain::Error;

use crate::registry::ports::Store;

use super::registry::{QueuedRead, Registry, stopping};

/// The number of steps that may wait for the writer.
const WAITING_MAX: usize = 16;

pub(super) fn channel() -> (mpsc::Sender<QueuedRead>, mpsc::Receiver<QueuedRead>) {
    mpsc::channel(WAITING_MAX)
}

impl QueuedRead {
    /// Reads and answers. The caller may have stopped waiting.
    pub(super) async fn run(self, store: &mut impl Store) {
        match self {
            QueuedRead::Audit(read, answer) => drop(answer.send(store.read_audit(&read).await)),
            QueuedRead::Revisions(read, answer) => drop(answer.send(store.read_revisions(&read).await)),
            QueuedRead::Entries(read, answer) => drop(answer.send(store.read_entries(&read).await)),
        }
    }
}

impl Registry {
    /// Has the writer read the store, and returns the outcome.
    pub(super) async fn read_store<T>(&self, read: impl FnOnce(oneshot::Sender<T>) -> QueuedRead) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.store_reads.send(read(answer)).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())
    }
}
