//! The place of a request in a trace: if it is recorded, and what its backend is told of that.
//!
//! Invariants: a peer that is not trusted may name the trace of its request, but has no part in the decision to record it; a backend is never
//! told that a span is recorded which is not.

use http::header::HeaderMap;

use crate::otlp::{SpanIds, Spans};
use crate::traffic::{TRACEPARENT, TRACESTATE, TraceParent, trace_parent};

/// Returns the ids of the span of a request, if it is sampled: a trusted peer decides that of its own trace, and the share of all other requests
/// is a share of random numbers that no peer knows.
pub(super) fn sampled_span(
    spans: &Spans,
    parent: Option<TraceParent>,
    is_trusted: bool,
    random: impl Fn() -> u64,
) -> Option<SpanIds> {
    let own = u128::from(random()) << 64 | u128::from(random());
    let trusted = parent.filter(|_| is_trusted);
    let decided = trusted.map(|parent| parent.is_sampled);
    let is_sampled = spans.samples(trusted.map_or(own, |parent| parent.trace), decided);
    let trace = parent.map_or(own, |parent| parent.trace);
    is_sampled.then(|| SpanIds { trace, span: random(), parent: parent.map(|parent| parent.span) })
}

/// Puts the span of an attempt into the fields of its request. The state of a trace that begins here is nobody's (W3C Trace Context §3.3).
pub(super) fn name_span(fields: &mut HeaderMap, own: TraceParent, begins_trace: bool) {
    if begins_trace {
        fields.remove(TRACESTATE);
    }
    fields.insert(TRACEPARENT, own.value());
}

/// Tells the backend that the trace which the peer names is not recorded here.
pub(super) fn name_unsampled(fields: &mut HeaderMap) {
    if let Some(parent) = trace_parent(fields) {
        fields.insert(TRACEPARENT, TraceParent { is_sampled: false, ..parent }.value());
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::otlp::Sampling;

    #[test]
    fn the_share_of_untrusted_peers_does_not_depend_on_the_ids_that_they_choose() {
        let spans = Spans::new(Sampling { ratio: 0.1, follows_parent: true });
        let seed = Cell::new(1_u64);
        // SplitMix64.
        let random = || {
            seed.set(seed.get().wrapping_add(0x9E37_79B9_7F4A_7C15));
            let mixed = (seed.get() ^ (seed.get() >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        };
        for chosen in [1, u128::MAX] {
            let parent = TraceParent { trace: chosen, span: 7, is_sampled: true, is_random: true };
            let sampled: Vec<SpanIds> =
                (0..10_000).filter_map(|_| sampled_span(&spans, Some(parent), false, random)).collect();
            assert!((900..1100).contains(&sampled.len()), "{chosen:x}: {}", sampled.len());
            assert!(sampled.iter().all(|ids| ids.trace == chosen && ids.parent == Some(7)));
            assert!(sampled_span(&spans, Some(parent), true, random).is_some());
            let parent = TraceParent { is_sampled: false, ..parent };
            assert!((0..1000).all(|_| sampled_span(&spans, Some(parent), true, random).is_none()));
        }
        assert!((0..1000).any(|_| sampled_span(&spans, None, true, random).is_some()));
    }
}
