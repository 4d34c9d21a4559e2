//! Snapshots of the store: its file is held still while somebody copies it.
//!
//! The writer owns the store, so it holds and releases the file. Invariants: one backup is made at a time; the file is
//! released however the one who copies it ends.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::registry::ports::{HeldFile, Store, StoreError};

/// The request for a snapshot, and the limit of backups.
#[derive(Clone)]
pub(super) struct Snapshots {
    pub(super) requests: mpsc::Sender<SnapshotRequest>,
    pub(super) turns: Arc<Semaphore>,
}

/// The right to make the only backup of its time.
#[derive(Debug)]
pub struct BackupPermit(#[expect(dead_code, reason = "held")] pub(super) OwnedSemaphorePermit);

/// The store's file while it is held. Dropping it releases the file.
#[derive(Debug)]
pub struct StoreSnapshot {
    /// The file.
    pub held: HeldFile,
    end: oneshot::Sender<oneshot::Sender<bool>>,
}

/// A request to hold the store's file.
pub(crate) struct SnapshotRequest {
    pub(super) answer: oneshot::Sender<Result<Option<StoreSnapshot>, StoreError>>,
}

/// The writer's side: the requests, and the snapshot that is held.
pub(super) struct SnapshotDesk {
    requests: mpsc::Receiver<SnapshotRequest>,
    /// The channel on which the end of the snapshot comes, with one for the outcome.
    held: Option<oneshot::Receiver<oneshot::Sender<bool>>>,
}

/// A step of a snapshot.
pub(super) enum SnapshotStep {
    /// Hold the file.
    Hold(SnapshotRequest),
    /// Release it, and tell the outcome if anybody asks for it.
    Release(Option<oneshot::Sender<bool>>),
}

impl Snapshots {
    pub(super) fn new() -> (Self, SnapshotDesk) {
        let (sender, requests) = mpsc::channel(1);
        (Self { requests: sender, turns: Arc::new(Semaphore::new(1)) }, SnapshotDesk { requests, held: None })
    }
}

impl SnapshotDesk {
    /// Waits for the next step. It may be dropped before.
    pub(super) async fn next(&mut self) -> SnapshotStep {
        if let Some(end) = &mut self.held {
            return SnapshotStep::Release(end.await.ok());
        }
        match self.requests.recv().await {
            Some(request) => SnapshotStep::Hold(request),
            // No handle is left that could ask.
            None => std::future::pending().await,
        }
    }

    /// Takes a step.
    pub(super) async fn run(&mut self, step: SnapshotStep, store: &mut impl Store) {
        match step {
            SnapshotStep::Hold(request) => self.held = hold(request, store).await,
            SnapshotStep::Release(outcome) => {
                self.held = None;
                let was_still = store.release().await;
                if let Some(outcome) = outcome {
                    // The caller may have stopped waiting.
                    let _ = outcome.send(was_still);
                }
            }
        }
    }
}

/// Holds the file and answers. Returns the channel of the end.
async fn hold(request: SnapshotRequest, store: &mut impl Store) -> Option<oneshot::Receiver<oneshot::Sender<bool>>> {
    let held = match store.hold().await {
        Ok(Some(held)) => held,
        other => {
            // The caller may have stopped waiting.
            let _ = request.answer.send(other.map(|_| None));
            return None;
        }
    };
    let (end, ended) = oneshot::channel();
    // If the caller has gone, the snapshot is dropped here, and its end comes at once.
    let _ = request.answer.send(Ok(Some(StoreSnapshot { held, end })));
    Some(ended)
}

impl StoreSnapshot {
    /// Releases the file. Returns true if nothing has changed it since it was held.
    pub async fn release(self) -> bool {
        let (outcome, told) = oneshot::channel();
        self.end.send(outcome).is_ok() && told.await.unwrap_or(false)
    }
}
