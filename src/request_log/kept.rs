//! The last requests that failed or were refused, by one worker.
//!
//! Invariants: requests that the proxy refused by a rule, which a client can make at will, never push out those that a backend or this server
//! failed, whatever status either has.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::json::requests::RequestView;

/// The most requests that each worker keeps of one kind: those that clients can make at will, and the others.
pub const KEPT_MAX: usize = 512;

/// The reasons that no client can bring about at will. A request with another reason was refused by a rule, such as maintenance.
const FAILURES: [&str; 4] = ["backend_failed", "backend_too_slow", "no_room", "response_broken_off"];

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
        let has_failed = kept.request.reason.is_some_and(|reason| FAILURES.contains(&reason));
        let kind = if has_failed { &mut self.failed } else { &mut self.refused };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request_log::query_mask::QueryMask;
    use crate::request_log::samples::bare;

    #[test]
    fn what_clients_can_make_at_will_pushes_out_no_failure_of_a_route() {
        let mut kept = KeptRequests::default();
        let mut push = |id: &str, status, reason| {
            let request = RequestView {
                id: id.to_owned().into(),
                status,
                reason: Some(reason),
                ..bare("").view(&QueryMask::default())
            }
            .kept();
            kept.push(KeptRequest { request: Arc::new(request), began: crate::clock::instant() });
        };
        // A failed gRPC call has status 200, and a response with any status can break off.
        let failed = [("a", 502, "backend_failed"), ("b", 200, "backend_too_slow"), ("c", 404, "response_broken_off")];
        failed.into_iter().for_each(|(id, status, reason)| push(id, status, reason));
        for (status, reason) in [
            (429, "rate_limited"),
            (200, "rate_limited"),
            (503, "maintenance"),
            (503, "breaker_open"),
            (404, "no_route"),
            (508, "loop"),
            (503, "too_many_connections"),
            (504, "deadline_passed"),
        ] {
            (0..KEPT_MAX).for_each(|_| push("refused", status, reason));
        }
        assert!(failed.into_iter().all(|(id, ..)| kept.find(id).is_some()));
        assert_eq!(kept.all().len(), failed.len() + KEPT_MAX);
    }
}
