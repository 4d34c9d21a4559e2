//! The live state of an endpoint: health, backoff, requests in flight and statistics. Each worker counts by itself; a reader
//! adds up.
//!
//! Invariants: a request writes only to memory that no other worker writes to, and a route without requests has no
//! counters: 100,000 idle routes are 100,000 empty cells.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use http::HeaderMap;
use http::header::ETAG;

use super::connect_backoff::ConnectBackoff;
use super::last_failure::LastFailure;
use super::request_labels::{MethodLabel, ReasonCounts, StatusCounts};
use super::{Endpoint, RouteOwner};
use crate::domain::{Route, Time};
use crate::duration_buckets::DurationBuckets;
use crate::traffic::health::EndpointHealth;
use crate::traffic::worker::WorkerId;

/// The state of an endpoint that changes while it serves. It passes to the next endpoint of the same route with the same
/// backend.
#[derive(Debug, Default)]
pub struct LiveState {
    /// The health by its checks.
    pub health: EndpointHealth,
    /// The backoff after failed connects.
    pub connect_backoff: ConnectBackoff,
    /// The last request that the backend failed.
    pub failures: LastFailure,
    // True if the backend itself sends weak entity tags.
    weak_tags: AtomicBool,
    shards: OnceLock<Box<[Arc<WorkerStats>]>>,
    /// A time before its first count, and after the last count of another one that it takes the place of.
    counts_since: OnceLock<Time>,
}

/// The counters of one worker. Aligned to cache lines of its own, together with its reference count.
#[derive(Debug, Default)]
#[repr(align(128))]
struct WorkerStats {
    in_flight: AtomicU64,
    counts: Mutex<RequestCounts>,
    /// The route that the requests were sent to, and the instance that it is of. They stay as long as the live state does.
    asked: OnceLock<(Arc<Route>, Option<Arc<RouteOwner>>)>,
    /// The words that the worker writes of them for each request.
    words: OnceLock<Box<[u8]>>,
}

#[derive(Debug, Default)]
struct RequestCounts {
    requests: u64,
    errors: u64,
    retries: u64,
    bytes_sent: u64,
    bytes_received: u64,
    codes: StatusCounts,
    reasons: ReasonCounts,
    latencies: Option<LatencyCounts>,
}

#[derive(Debug)]
struct LatencyCounts {
    /// Microseconds with two digits of precision: at most 15 KiB for latencies up to an hour, 2 KiB up to a millisecond.
    quantiles: Histogram<u32>,
    buckets: RequestDurations,
}

/// The durations of requests, for a histogram.
pub type RequestDurations = DurationBuckets<14>;

const LATENCY_MAX: Duration = Duration::from_hours(1);
/// The bounds of the histogram of request durations in nanoseconds, as the semantic conventions of OpenTelemetry have them.
static LATENCY_BOUNDS: [u64; 14] = [
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    75_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    750_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    7_500_000_000,
    10_000_000_000,
];

impl LiveState {
    /// Returns true if the last response that could be compressed had a weak entity tag.
    pub fn has_weak_etags(&self) -> bool {
        self.weak_tags.load(Ordering::Relaxed)
    }

    /// Notes the entity tag of a response that can be compressed, before it is rewritten.
    pub fn note_etag(&self, headers: &HeaderMap) {
        let Some(tag) = headers.get(ETAG) else { return };
        let weak = tag.as_bytes().starts_with(b"W/");
        if weak != self.has_weak_etags() {
            self.weak_tags.store(weak, Ordering::Relaxed);
        }
    }

    /// Counts a request as in flight until the returned guard is dropped.
    pub fn begin_request(&self, worker: WorkerId) -> InFlight {
        let shards = self.shards.get_or_init(|| worker.each());
        let shard = worker.own(shards).cloned().unwrap_or_default();
        shard.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(shard)
    }

    /// The same for a request that is sent to `endpoint`, whose live state this is.
    pub(super) fn begin_request_to(&self, endpoint: &Endpoint, worker: WorkerId) -> InFlight {
        let in_flight = self.begin_request(worker);
        in_flight.0.asked.get_or_init(|| (Arc::clone(&endpoint.route), endpoint.policy.owner.clone()));
        in_flight
    }

    /// Counts a request that the proxy answered itself with `status`.
    pub fn record_refusal(&self, worker: WorkerId, method: MethodLabel, status: u16) {
        self.count(worker, |counts| counts.refused(method, status));
    }

    /// Counts the reason of an answer that the proxy gave itself.
    pub fn record_reason(&self, worker: WorkerId, reason: &'static str) {
        self.count(worker, |counts| counts.reasons.count(reason, 1));
    }

    /// Counts an attempt that failed here and is followed by another one.
    pub fn record_retry(&self, worker: WorkerId) {
        self.count(worker, |counts| counts.retries += 1);
    }

    fn count(&self, worker: WorkerId, count: impl FnOnce(&mut RequestCounts)) {
        let shards = self.shards.get_or_init(|| worker.each());
        if let Some(shard) = worker.own(shards) {
            count(&mut shard.counts());
        }
    }

    /// Returns the number of requests and tunnels in flight.
    pub fn in_flight(&self) -> u64 {
        self.shards().iter().map(|shard| shard.in_flight.load(Ordering::Relaxed)).sum()
    }

    /// Returns the sums over all workers.
    pub fn stats(&self) -> EndpointStats {
        let mut sum = RequestCounts::default();
        for shard in self.shards() {
            sum.add(&shard.counts());
        }
        sum.stats(self.in_flight())
    }

    /// Returns the sums over all workers, for metrics; `None` before the first request. It holds up a worker for less than
    /// [`LiveState::stats`] does.
    pub fn totals(&self) -> Option<RequestTotals> {
        let mut totals = RequestTotals { in_flight: self.in_flight(), ..RequestTotals::default() };
        for shard in self.shards.get()? {
            totals.add(&shard.counts());
        }
        Some(totals)
    }

    /// Returns the same for a reader who looks at all routes now and then, `last` at this time: the counts began after it, if they have not been seen
    /// before.
    pub fn totals_since(&self, last: Time) -> Option<RequestTotals> {
        let totals = self.totals()?;
        Some(RequestTotals { since: Some(*self.counts_since.get_or_init(|| last)), ..totals })
    }

    fn shards(&self) -> &[Arc<WorkerStats>] {
        self.shards.get().map_or(&[], |shards| shards)
    }
}

impl WorkerStats {
    fn counts(&self) -> MutexGuard<'_, RequestCounts> {
        // The counts are complete after every statement that can panic, so a poisoned lock guards nothing broken.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A guard that counts a request or tunnel as in flight until it is dropped.
#[derive(Debug)]
pub struct InFlight(Arc<WorkerStats>);

impl InFlight {
    /// Adds the record of a finished request to the statistics. At most once for each guard.
    pub fn record(&self, request: &RequestRecord) {
        self.0.counts().record(request);
    }
}

impl InFlight {
    /// Returns the route that the request was sent to.
    pub fn asked(&self) -> AskedRoute {
        AskedRoute(Arc::clone(&self.0))
    }
}

/// The route that a request was sent to. It outlives the endpoint, and unlike the endpoint no other worker counts references to it.
#[derive(Debug)]
pub struct AskedRoute(Arc<WorkerStats>);

impl AskedRoute {
    /// Returns the route and the instance that it is of. The id and the backend of the route are those that the request met; the rest may have
    /// been changed since.
    pub fn get(&self) -> Option<(&Route, Option<&RouteOwner>)> {
        self.0.asked.get().map(|(route, owner)| (&**route, owner.as_deref()))
    }

    /// Returns what is written of the route for each request. It is made once.
    pub fn words(&self, make: impl FnOnce(&Route, Option<&RouteOwner>) -> Box<[u8]>) -> Option<&[u8]> {
        let (route, owner) = self.get()?;
        Some(self.0.words.get_or_init(|| make(route, owner)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The record of a request that was sent to an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestRecord {
    /// The method of the request.
    pub method: MethodLabel,
    /// The status that the client got.
    pub status: u16,
    /// True for a 5xx, and if the backend sent no complete response.
    pub error: bool,
    /// The time from the request's head to the response's head. A slow download by the client does not count.
    pub latency: Duration,
    /// Bytes of response bodies and tunnels to the client.
    pub bytes_sent: u64,
    /// Bytes of request bodies and tunnels from the client.
    pub bytes_received: u64,
}

impl RequestCounts {
    /// Counts no latency: the time of a refusal says nothing about the backend.
    fn refused(&mut self, method: MethodLabel, status: u16) {
        self.requests += 1;
        self.errors += u64::from(status >= 500);
        self.codes.count(status, method);
    }

    fn record(&mut self, request: &RequestRecord) {
        self.requests += 1;
        self.errors += u64::from(request.error);
        self.bytes_sent += request.bytes_sent;
        self.bytes_received += request.bytes_received;
        self.codes.count(request.status, request.method);
        if let Some(latencies) = self.latencies() {
            latencies.record(request.latency.min(LATENCY_MAX));
        }
    }

    fn add(&mut self, other: &RequestCounts) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        self.codes.add(&other.codes);
        if let (Some(all), Some(latencies)) = (self.latencies(), &other.latencies) {
            let _ = all.quantiles.add(&latencies.quantiles);
            all.buckets.add(&latencies.buckets);
        }
    }

    fn latencies(&mut self) -> Option<&mut LatencyCounts> {
        if self.latencies.is_none() {
            let mut quantiles = Histogram::new(2).ok()?;
            quantiles.auto(true);
            self.latencies = Some(LatencyCounts { quantiles, buckets: DurationBuckets::new(&LATENCY_BOUNDS) });
        }
        self.latencies.as_mut()
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean for people's eyes")]
    fn stats(&self, in_flight: u64) -> EndpointStats {
        let latencies = self.latencies.as_ref();
        let (timed, seconds) =
            latencies.map_or((0, 0.0), |known| (known.buckets.len(), known.buckets.sum().as_secs_f64()));
        let quantile = |share: f64| {
            let micros = latencies.map_or(0, |latencies| latencies.quantiles.value_at_quantile(share));
            micros as f64 / 1000.0
        };
        EndpointStats {
            requests: self.requests,
            errors: self.errors,
            avg_latency_ms: seconds * 1000.0 / timed.max(1) as f64,
            p50_latency_ms: quantile(0.5),
            p95_latency_ms: quantile(0.95),
            p99_latency_ms: quantile(0.99),
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            status_codes: self.codes.by_code().collect(),
            in_flight,
        }
    }
}

impl LatencyCounts {
    fn record(&mut self, latency: Duration) {
        // Recording cannot fail because the histogram resizes itself.
        let _ = self.quantiles.record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        self.buckets.record(latency);
    }
}

/// The counts of an endpoint since it has its present backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestTotals {
    /// The number of requests by method and status code.
    pub requests: StatusCounts,
    /// The number of answers that the proxy gave itself, by reason.
    pub reasons: ReasonCounts,
    /// The times from the request's head to the response's head, or to the failure of the backend.
    pub durations: Option<RequestDurations>,
    /// The number of attempts that failed and were followed by another one.
    pub retries: u64,
    /// Bytes of response bodies and tunnels to clients.
    pub bytes_sent: u64,
    /// Bytes of request bodies and tunnels from clients.
    pub bytes_received: u64,
    /// The number of requests and tunnels in flight.
    pub in_flight: u64,
    /// The time from which they count, where the reader knows one.
    pub since: Option<Time>,
}

impl RequestTotals {
    fn add(&mut self, counts: &RequestCounts) {
        self.requests.add(&counts.codes);
        self.reasons.add(&counts.reasons);
        self.retries += counts.retries;
        self.bytes_sent += counts.bytes_sent;
        self.bytes_received += counts.bytes_received;
        if let Some(latencies) = &counts.latencies {
            self.durations.get_or_insert(DurationBuckets::new(&LATENCY_BOUNDS)).add(&latencies.buckets);
        }
    }
}

/// The statistics of an endpoint.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EndpointStats {
    /// The number of requests: answered, refused, or given up by the client.
    pub requests: u64,
    /// The number of requests with a 5xx or without a complete response.
    pub errors: u64,
    /// The mean time in milliseconds from the request's head to the response's head, over the requests that were sent to the
    /// backend.
    pub avg_latency_ms: f64,
    /// The median latency in milliseconds.
    pub p50_latency_ms: f64,
    /// The latency in milliseconds that 95 % of the requests stay below.
    pub p95_latency_ms: f64,
    /// The latency in milliseconds that 99 % of the requests stay below.
    pub p99_latency_ms: f64,
    /// Bytes of response bodies and tunnels to clients.
    pub bytes_sent: u64,
    /// Bytes of request bodies and tunnels from clients.
    pub bytes_received: u64,
    /// The number of responses by status code.
    pub status_codes: BTreeMap<u16, u64>,
    /// The number of requests and tunnels in flight.
    pub in_flight: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_workers_are_added_up() {
        let live = LiveState::default();
        for (index, status) in [200, 500].into_iter().enumerate() {
            let in_flight = live.begin_request(WorkerId { index, count: 2 });
            let latency = Duration::from_millis(10 * (index as u64 + 1));
            in_flight.record(&RequestRecord { status, error: index == 1, latency, ..RequestRecord::default() });
        }
        let numbers = live.stats();
        assert_eq!((numbers.requests, numbers.errors, numbers.in_flight), (2, 1, 0));
        assert_eq!(numbers.status_codes, BTreeMap::from([(200, 1), (500, 1)]));
        assert!((numbers.avg_latency_ms - 15.0).abs() < 0.01);
        assert!((numbers.p50_latency_ms - 10.0).abs() < 0.2 && (numbers.p99_latency_ms - 20.0).abs() < 0.3);
    }

    #[test]
    fn a_refused_request_counts_but_has_no_latency() {
        let (live, worker) = (LiveState::default(), WorkerId { index: 0, count: 1 });
        live.record_refusal(worker, MethodLabel::Get, 429);
        assert_eq!(live.stats().avg_latency_ms.to_bits(), 0);
        live.begin_request(worker).record(&RequestRecord {
            status: 200,
            latency: Duration::from_millis(10),
            ..RequestRecord::default()
        });
        live.record_refusal(worker, MethodLabel::Get, 503);
        let numbers = live.stats();
        assert_eq!((numbers.requests, numbers.errors, numbers.in_flight), (3, 1, 0));
        assert_eq!(numbers.status_codes, BTreeMap::from([(200, 1), (429, 1), (503, 1)]));
        assert!((numbers.avg_latency_ms - 10.0).abs() < 0.01 && numbers.p50_latency_ms > 9.0);
    }

    #[test]
    fn a_request_counts_as_in_flight_until_its_guard_is_dropped() {
        let live = LiveState::default();
        let in_flight = live.begin_request(WorkerId { index: 0, count: 1 });
        assert_eq!((live.in_flight(), live.stats().requests), (1, 0));
        drop(in_flight);
        assert_eq!(live.in_flight(), 0);
    }

    #[test]
    fn an_endless_latency_is_counted_as_the_longest() {
        let live = LiveState::default();
        let seen = RequestRecord { latency: Duration::MAX, ..RequestRecord::default() };
        live.begin_request(WorkerId { index: 0, count: 1 }).record(&seen);
        assert!(live.stats().p99_latency_ms >= 3_500_000.0);
    }

    #[test]
    fn counts_that_begin_anew_count_from_the_last_look_and_stay_so() {
        let (live, worker) = (LiveState::default(), WorkerId { index: 0, count: 1 });
        assert_eq!(live.totals_since(Time(5)), None);
        live.record_retry(worker);
        for last in [7, 9] {
            assert_eq!(live.totals_since(Time(last)).unwrap().since, Some(Time(7)));
        }
    }

    #[test]
    fn totals_have_methods_codes_and_exact_buckets_of_all_workers() {
        let live = LiveState::default();
        assert_eq!(live.totals(), None, "a route without requests has no series");
        for (index, method, millis) in [(0, MethodLabel::Get, 5), (1, MethodLabel::Get, 6), (1, MethodLabel::Other, 1)]
        {
            let latency = Duration::from_millis(millis);
            let record = RequestRecord { method, status: 200, latency, bytes_sent: 3, ..RequestRecord::default() };
            live.begin_request(WorkerId { index, count: 2 }).record(&record);
        }
        let worker = WorkerId { index: 1, count: 2 };
        live.record_refusal(worker, MethodLabel::Post, 429);
        live.record_reason(worker, "limited");
        live.record_retry(worker);
        let totals = live.totals().unwrap();
        let expected = [(MethodLabel::Other, 200, 1), (MethodLabel::Get, 200, 2), (MethodLabel::Post, 429, 1)];
        assert_eq!(totals.requests.iter().collect::<Vec<_>>(), expected);
        assert_eq!(totals.reasons.iter().collect::<Vec<_>>(), [("limited", 1)]);
        assert_eq!((totals.retries, totals.bytes_sent, totals.in_flight), (1, 9, 0));
        let durations = totals.durations.unwrap().sample();
        assert_eq!(durations.buckets[..3], [(0.005, 2), (0.01, 1), (0.025, 0)]);
        assert!((durations.seconds - 0.012).abs() < 1e-9);
    }
}
