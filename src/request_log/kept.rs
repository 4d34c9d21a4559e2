//! The last requests that failed or were refused, by one worker.
//!
//! Invariants: requests that the proxy refused by a rule, which a client can make at will, never push out those that a backend failed.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::json::requests::RequestView;

/// The most requests that each worker keeps of one kind: a status below 500, and the others.
pub const KEPT_MAX: usize = 512;

/// The last requests that failed, and the last that were refused.
#[derive(Debug, Default)]
pub(super) struct KeptRequests {
    failed: VecDeque<Arc<RequestView<'static>>>,
    refused: VecDeque<Arc<RequestView<'static>>>,
}

impl KeptRequests {
    /// Keeps a request. The oldest of its kind makes way.
    pub(super) fn push(&mut self, request: Arc<RequestView<'static>>) {
        let kind = if request.status >= 500 || request.status < 400 { &mut self.failed } else { &mut self.refused };
        if kind.len() >= KEPT_MAX {
            kind.pop_front();
        }
        kind.push_back(request);
    }

    /// Returns the last request with this id.
    pub(super) fn find(&self, id: &str) -> Option<Arc<RequestView<'static>>> {
        self.failed.iter().rev().chain(self.refused.iter().rev()).find(|request| request.id == id).cloned()
    }

    /// Returns all of them.
    pub(super) fn all(&self) -> Vec<Arc<RequestView<'static>>> {
        self.failed.iter().chain(&self.refused).cloned().collect()
    }
}
