//! The traffic of all active routes together, for operators.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// The counts of all active routes together, since the server started or the routes got their present backends. They fall
/// when a route ends.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
#[expect(missing_docs, reason = "the keys are those of statistics where they mean the same")]
pub struct TrafficTotals {
    pub requests: u64,
    /// The number of responses by status.
    #[schema(value_type = BTreeMap<String, u64>, example = json!({ "200": 12400, "404": 3 }))]
    pub status_codes: BTreeMap<u16, u64>,
    /// The requests for no known route, which are in none of the other counts.
    pub unrouted: u64,
    pub in_flight: u64,
    pub retries: u64,
    pub bytes_sent: u64,
    pub bytes_received: u64,
    /// The times from the head of a request to the head of its response, of requests that were sent to a backend. Together they
    /// took so many milliseconds.
    #[schema(minimum = 0)]
    pub latency_sum_ms: f64,
    /// The same times, counted in buckets.
    pub latencies: Vec<LatencyBucket>,
}

/// The requests that took longer than the bucket before, and no longer than this one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
pub struct LatencyBucket {
    /// The upper bound in milliseconds; `null` for the last bucket, which has none.
    #[schema(required, minimum = 0)]
    pub at_most_ms: Option<f64>,
    /// The number of requests.
    pub count: u64,
}
