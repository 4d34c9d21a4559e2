//! The last requests that failed or were refused, by one worker.
//!
//! Invariants: requests that the proxy refused by a rule, which a client can make at will, never push out those that a backend failed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::json::requests::RequestView;

/// The most requests that each worker keeps of one kind: those that clients can make at will, and the others.
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
        let is_refused = (400..500).contains(&kept.request.status) || kept.request.route_id.is_none();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::RouteId;
    use crate::request_log::json_line::tests::bare;

    #[test]
    fn what_clients_can_make_at_will_pushes_out_no_failure_of_a_route() {
        let mut kept = KeptRequests::default();
        let mut push = |id: &str, status, route_id| {
            let request = RequestView { id: id.to_owned().into(), status, route_id, ..bare("") }.kept();
            kept.push(KeptRequest { request: Arc::new(request), began: crate::clock::instant() });
        };
        push("failed", 502, Some(RouteId(1)));
        push("broken off", 200, Some(RouteId(1)));
        // Refused by a rule of the route, and without a route: unmatched, a loop, no room for the connection.
        let at_will = [(429, Some(RouteId(1))), (404, None), (508, None), (503, None)];
        for (status, route_id) in at_will {
            (0..KEPT_MAX).for_each(|_| push("refused", status, route_id));
        }
        assert!(kept.find("failed").is_some() && kept.find("broken off").is_some());
        assert_eq!(kept.all().len(), 2 + KEPT_MAX);
    }
}
