//! The last requests that failed or were refused, by one worker.
//!
//! Invariants: requests that the proxy refused by a rule, which a client can make at will, never push out those that a backend failed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::json::requests::RequestView;

/// The most requests that each worker keeps of one kind: a status below 500, and the others.
pub const KEPT_MAX: usize = 512;

/// The last requests that failed, and the last that were refused.
#[derive(Debug, Default)]
pub(super) struct KeptRequests {
    failed: VecDeque<KeptRequest>,
    refused: VecDeque<KeptRequest>,
}

/// A request, and the time at which it began: many may begin in the millisecond that the request itself tells.
#[derive(Clone, Debug)]
pub(super) struct KeptRequest {
    pub(super) request: Arc<RequestView<'static>>,
    pub(super) began: Instant,
}

impl KeptRequests {
    /// Keeps a request. The oldest of its kind makes way.
    pub(super) fn push(&mut self, kept: KeptRequest) {
        let is_refused = (400..500).contains(&kept.request.status);
        let kind = if is_refused { &mut self.refused } else { &mut self.failed };
        if kind.len() >= KEPT_MAX {
            kind.pop_front();
        }
        kind.push_back(kept);
    }

    /// Returns the last request with this id.
    pub(super) fn find(&self, id: &str) -> Option<Arc<RequestView<'static>>> {
        let mut all = self.failed.iter().rev().chain(self.refused.iter().rev());
        all.find(|kept| kept.request.id == id).map(|kept| Arc::clone(&kept.request))
    }

    /// Returns all of them.
    pub(super) fn all(&self) -> Vec<KeptRequest> {
        self.failed.iter().chain(&self.refused).cloned().collect()
    }
}
