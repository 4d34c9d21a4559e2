//! The live state of an endpoint: health, backoff, requests in flight and statistics. Each worker counts by itself; a reader
//! adds up.
//!
//! Invariants: a request writes only to memory that no other worker writes to, and a route without requests has no
//! counters: 100,000 idle routes are 100,000 empty cells.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;
use http::HeaderMap;
use http::header::ETAG;

use super::connect_backoff::ConnectBackoff;
use super::last_failure::LastFailure;
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
}

/// The counters of one worker. Aligned to cache lines of its own, together with its reference count.
#[derive(Debug, Default)]
#[repr(align(128))]
struct WorkerStats {
    in_flight: AtomicU64,
    counts: Mutex<RequestCounts>,
}

#[derive(Debug, Default)]
struct RequestCounts {
    requests: u64,
    errors: u64,
    latency_micros: u64,
    bytes_sent: u64,
    bytes_received: u64,
    // A backend answers with a few different codes, so a list is enough.
    codes: Vec<(u16, u64)>,
    latencies: Option<Latencies>,
}

/// Latencies in microseconds with two digits of precision: at most 15 KiB for latencies up to an hour, 2 KiB up to a
/// millisecond.
type Latencies = Histogram<u32>;

const LATENCY_MICROS_MAX: u64 = 3_600_000_000;

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

    /// Counts a request that the proxy answered itself with `status`.
    pub fn record_refusal(&self, worker: WorkerId, status: u16) {
        let shards = self.shards.get_or_init(|| worker.each());
        if let Some(shard) = worker.own(shards) {
            shard.counts().refused(status);
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

    fn shards(&self) -> &[Arc<WorkerStats>] {
        self.shards.get().map_or(&[], |shards| shards)
    }
}

impl WorkerStats {
    fn counts(&self) -> std::sync::MutexGuard<'_, RequestCounts> {
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

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The record of a request that was sent to an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestRecord {
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
    fn refused(&mut self, status: u16) {
        self.requests += 1;
        self.errors += u64::from(status >= 500);
        self.count_code(status, 1);
    }

    fn record(&mut self, request: &RequestRecord) {
        let micros = u64::try_from(request.latency.as_micros()).unwrap_or(u64::MAX).min(LATENCY_MICROS_MAX);
        self.requests += 1;
        self.errors += u64::from(request.error);
        self.latency_micros += micros;
        self.bytes_sent += request.bytes_sent;
        self.bytes_received += request.bytes_received;
        self.count_code(request.status, 1);
        if let Some(latencies) = self.latencies() {
            // Recording cannot fail because the histogram resizes itself.
            let _ = latencies.record(micros);
        }
    }

    fn add(&mut self, other: &RequestCounts) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.latency_micros += other.latency_micros;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
        for (code, count) in &other.codes {
            self.count_code(*code, *count);
        }
        if let (Some(all), Some(latencies)) = (self.latencies(), &other.latencies) {
            let _ = all.add(latencies);
        }
    }

    fn count_code(&mut self, code: u16, count: u64) {
        match self.codes.iter_mut().find(|(known, _)| *known == code) {
            Some((_, counted)) => *counted += count,
            None => self.codes.push((code, count)),
        }
    }

    fn latencies(&mut self) -> Option<&mut Latencies> {
        if self.latencies.is_none() {
            let mut latencies = Histogram::new(2).ok()?;
            latencies.auto(true);
            self.latencies = Some(latencies);
        }
        self.latencies.as_mut()
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean for people's eyes")]
    fn stats(&self, in_flight: u64) -> EndpointStats {
        let timed = self.latencies.as_ref().map_or(0, Histogram::len);
        let quantile = |share: f64| {
            let micros = self.latencies.as_ref().map_or(0, |latencies| latencies.value_at_quantile(share));
            micros as f64 / 1000.0
        };
        EndpointStats {
            requests: self.requests,
            errors: self.errors,
            avg_latency_ms: self.latency_micros as f64 / 1000.0 / timed.max(1) as f64,
            p50_latency_ms: quantile(0.5),
            p95_latency_ms: quantile(0.95),
            p99_latency_ms: quantile(0.99),
            bytes_sent: self.bytes_sent,
            bytes_received: self.bytes_received,
            status_codes: self.codes.iter().copied().collect(),
            in_flight,
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
        live.record_refusal(worker, 429);
        assert_eq!(live.stats().avg_latency_ms.to_bits(), 0);
        live.begin_request(worker).record(&RequestRecord {
            status: 200,
            latency: Duration::from_millis(10),
            ..RequestRecord::default()
        });
        live.record_refusal(worker, 503);
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
}
