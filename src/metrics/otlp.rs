//! The metrics as OTLP has them, for a collector that gets them without a scrape.

use opentelemetry_proto::tonic::metrics::v1::Metric;

use super::content::Content;
use super::otlp_points::{OtlpFamilies, PointTimes};
use super::series::FamilyWriter;
use super::snapshot::Snapshot;
use crate::domain::Time;

/// Returns the metrics of a snapshot, which was taken at `now`.
pub fn otlp(snapshot: Snapshot, now: Time) -> Vec<Metric> {
    let times = PointTimes { start: nanos(snapshot.process.started), now: nanos(now) };
    let mut families = OtlpFamilies::new(times);
    // Writing to memory does not fail.
    let _ = Content(snapshot).write(&mut FamilyWriter::Otlp(&mut families));
    families.metrics
}

fn nanos(time: Time) -> u64 {
    time.0.saturating_mul(1_000_000)
}
