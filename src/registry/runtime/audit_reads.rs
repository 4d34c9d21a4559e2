//! Lists of the audit's records.
//!
//! Invariant: a step reads a bounded number of records.

use crate::clock;
use crate::domain::{Error, Kind, Time};

use crate::registry::audit::{AuditFilter, AuditPage};
use crate::registry::ports::{AuditChunk, AuditRead};
use crate::registry::queries::paging::ListRequest;

use super::registry::{QueuedRead, Registry};

/// The largest number of steps for one page. A page that needs more ends early, with a cursor.
const STEPS_MAX: usize = 64;

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
        self.read_store(|answer| QueuedRead::Audit(read, answer)).await?.map_err(|error| {
            tracing::error!(%error, "the audit cannot be read");
            Error::new(Kind::Unavailable, "the audit cannot be read now; try again")
        })
    }
}
