//! Adds up the counts of all routes, for the overview of operators. It keeps nothing between two calls.

use std::sync::Arc;

use crate::proxy::WorkerCounters;
use crate::registry::queries::traffic_totals::{LatencyBucket, TrafficTotals};
use crate::traffic::{ReasonCounts, RequestTotals, RoutingTable};

/// Returns the counts of all routes of the table, and of the requests for no known route.
pub(super) fn totals_of(table: &RoutingTable, workers: &[Arc<WorkerCounters>]) -> TrafficTotals {
    let mut totals = TrafficTotals::default();
    let counted = table.endpoints().values().filter_map(|endpoint| endpoint.live.totals());
    counted.for_each(|of_route| add(&mut totals, &of_route));
    let mut unrouted = ReasonCounts::default();
    workers.iter().for_each(|worker| unrouted.add(&worker.reasons()));
    totals.unrouted = unrouted.iter().map(|(_, count)| count).sum();
    totals
}

fn add(totals: &mut TrafficTotals, more: &RequestTotals) {
    for (_, code, count) in more.requests.iter() {
        totals.requests += count;
        *totals.status_codes.entry(code).or_default() += count;
    }
    totals.in_flight += more.in_flight;
    totals.retries += more.retries;
    totals.bytes_sent += more.bytes_sent;
    totals.bytes_received += more.bytes_received;
    let Some(durations) = &more.durations else { return };
    let sample = durations.sample();
    totals.latency_sum_ms += sample.seconds * 1000.0;
    if totals.latencies.is_empty() {
        let bounds = sample.buckets.iter().map(|(seconds, _)| seconds.is_finite().then_some(seconds * 1000.0));
        totals.latencies = bounds.map(|at_most_ms| LatencyBucket { at_most_ms, count: 0 }).collect();
    }
    let buckets = totals.latencies.iter_mut().zip(sample.buckets);
    buckets.for_each(|(bucket, (_, count))| bucket.count += count);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::traffic::{LiveState, RequestRecord, WorkerId};

    #[test]
    fn the_counts_of_routes_add_up_by_status_and_by_bucket() {
        let mut totals = TrafficTotals::default();
        for (status, millis) in [(200, 4), (200, 6), (503, 20_000)] {
            let (live, latency) = (LiveState::default(), Duration::from_millis(millis));
            let record = RequestRecord { status, latency, bytes_sent: 3, ..RequestRecord::default() };
            live.begin_request(WorkerId { index: 0, count: 1 }).record(&record);
            add(&mut totals, &live.totals().unwrap());
        }
        assert_eq!((totals.requests, totals.bytes_sent, totals.in_flight), (3, 9, 0));
        assert_eq!(totals.status_codes, [(200, 2), (503, 1)].into());
        let counted: Vec<_> = totals.latencies.iter().filter(|bucket| bucket.count > 0).collect();
        let expected = [Some(5.0), Some(10.0), None].map(|at_most_ms| LatencyBucket { at_most_ms, count: 1 });
        assert_eq!(counted, expected.iter().collect::<Vec<_>>());
    }
}
