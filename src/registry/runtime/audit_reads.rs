//! Lists of the audit's records.
//!
//! The writer owns the store, so it reads the records too, in small steps between its batches. Invariant: a step reads
//! a bounded number of records, and no batch waits for more than one step.

use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::domain::{Error, Kind, Time};

use crate::registry::audit::{AuditFilter, AuditPage};
use crate::registry::ports::{AuditChunk, AuditRead, Store};
use crate::registry::queries::paging::ListRequest;

use super::registry::{QueuedAuditRead, Registry, stopping};

/// The number of steps that may wait for the writer.
const WAITING_MAX: usize = 16;
/// The largest number of steps for one page. A page that needs more ends early, with a cursor.
const STEPS_MAX: usize = 64;

pub(super) fn channel() -> (mpsc::Sender<QueuedAuditRead>, mpsc::Receiver<QueuedAuditRead>) {
    mpsc::channel(WAITING_MAX)
}

impl QueuedAuditRead {
    /// Reads the records and answers.
    pub(super) async fn run(self, store: &mut impl Store) {
        let found = store.read_audit(&self.read).await;
        // The caller may have stopped waiting.
        let _ = self.answer.send(found);
    }
}

impl Registry {
    /// Returns a page of the audit, the latest record first.
    ///
    /// # Errors
    /// `Invalid` for a cursor that this list did not give, `Unavailable` if the store cannot be read.
    pub async fn audit(&self, page: &ListRequest, mut filter: AuditFilter) -> Result<AuditPage, Error> {
        let mut before = page.cursor(|text| text.parse().ok())?;
        let keep = self.rules.load().limits.audit_keep;
        // Records that are too old may not be removed yet.
        let oldest = Time(clock::wall_time(clock::now()).0.saturating_sub(keep.millis()));
        filter.since = filter.since.max(Some(oldest));
        let mut items = Vec::new();
        for _ in 0..STEPS_MAX {
            let read = AuditRead {
                filter: filter.clone(),
                before: before.unwrap_or(u64::MAX),
                most: page.limit - items.len(),
            };
            let chunk = self.audit_step(read).await?;
            items.extend(chunk.records);
            before = chunk.before;
            if before.is_none() || items.len() >= page.limit {
                break;
            }
        }
        let next_cursor = before.map(|before| ListRequest::written(&before.to_string()));
        Ok(AuditPage { items, next_cursor })
    }

    async fn audit_step(&self, read: AuditRead) -> Result<AuditChunk, Error> {
        let (answer, answered) = oneshot::channel();
        self.audit_reads.send(QueuedAuditRead { read, answer }).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?.map_err(|error| {
            tracing::error!(%error, "the audit cannot be read");
            Error::new(Kind::Unavailable, "the audit cannot be read now; try again")
        })
    }
}
