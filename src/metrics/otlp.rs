//! The metrics as OTLP has them, for a collector that gets them without a scrape.

use opentelemetry_proto::tonic::metrics::v1::Metric;

use super::content::Content;
use super::otlp_points::{OtlpFamilies, PointTimes, nanos};
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

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;

    use super::*;
    use crate::domain::{InstanceName, RouteId, ServiceName};
    use crate::metrics::{InstanceSample, RouteSample};
    use crate::traffic::{LiveState, MethodLabel, RequestRecord, WorkerId};

    #[test]
    fn sums_of_a_route_that_began_anew_have_their_own_start() {
        let (live, worker) = (LiveState::default(), WorkerId { index: 0, count: 1 });
        live.begin_request(worker).record(&RequestRecord {
            method: MethodLabel::Get,
            status: 200,
            ..Default::default()
        });
        live.record_reason(worker, "timeout");
        let totals = live.totals_since(Time(7)).map(Box::new);
        let mut snapshot = Snapshot {
            instances: vec![InstanceSample {
                service: ServiceName::parse("shop").unwrap(),
                instance: InstanceName::parse("i-1").unwrap(),
                routes: 1,
                in_maintenance: 0,
                traffic_percent: 100,
            }],
            routes: vec![RouteSample { instance: 0, id: RouteId(1), healthy: None, breaker: None, totals }],
            ..Snapshot::default()
        };
        snapshot.process.started = Time(2);
        let (mut of_routes, mut of_others) = (0, 0);
        for metric in otlp(snapshot, Time(9)) {
            let points: Vec<_> = match metric.data.unwrap() {
                Data::Sum(sum) => {
                    sum.data_points.into_iter().map(|point| (point.attributes, point.start_time_unix_nano)).collect()
                }
                Data::Histogram(histogram) => histogram
                    .data_points
                    .into_iter()
                    .map(|point| (point.attributes, point.start_time_unix_nano))
                    .collect(),
                _ => continue,
            };
            for (attributes, start) in points {
                let is_of_route = attributes.iter().any(|attribute| attribute.key == "route");
                assert_eq!(start, if is_of_route { 7_000_000 } else { 2_000_000 }, "{} {attributes:?}", metric.name);
                *(if is_of_route { &mut of_routes } else { &mut of_others }) += 1;
            }
        }
        assert!(of_routes >= 6 && of_others > 0, "{of_routes} {of_others}");
    }
}
