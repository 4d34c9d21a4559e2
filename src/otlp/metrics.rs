//! The task that sends metrics to the collector, in messages of a bounded size.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Histogram, Metric, ResourceMetrics, ScopeMetrics, Sum};
use tokio_util::sync::CancellationToken;

use super::sender::OtlpSender;

/// The most points in one message: collectors take 4 MiB.
const POINTS_MAX: usize = 4000;

/// The number of messages with metrics that the collector did not take.
#[derive(Debug, Default)]
pub struct MetricsLoss(AtomicU64);

impl MetricsLoss {
    /// Returns the number.
    pub fn messages(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Sends what `collect` returns, once in each `interval` and once more at the end.
pub async fn send_metrics(
    sender: OtlpSender,
    interval: Duration,
    loss: Arc<MetricsLoss>,
    collect: impl Fn() -> Vec<Metric> + Send,
    stop: CancellationToken,
) {
    let mut is_last = false;
    while !is_last {
        is_last = tokio::time::timeout(interval, stop.cancelled()).await.is_ok();
        for metrics in in_messages(collect()) {
            let scope = InstrumentationScope {
                name: "signalbox".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            };
            let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
            let resource = Some(sender.resource());
            let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
            if let Err(error) = sender.send_metrics(ExportMetricsServiceRequest { resource_metrics }).await {
                tracing::debug!(%error, "metrics were not sent");
                loss.0.fetch_add(1, Ordering::Relaxed);
                // The next ones say all that these say.
                break;
            }
        }
    }
}

/// Splits metrics so that no message has more than [`POINTS_MAX`] points.
fn in_messages(metrics: Vec<Metric>) -> Vec<Vec<Metric>> {
    let (mut messages, mut left) = (vec![Vec::new()], POINTS_MAX);
    for mut metric in metrics {
        while let Some((part, points)) = split_off(&mut metric, left) {
            left -= points;
            if let Some(message) = messages.last_mut() {
                message.push(part);
            }
            if left == 0 {
                messages.push(Vec::new());
                left = POINTS_MAX;
            }
        }
    }
    messages.retain(|message| !message.is_empty());
    messages
}

/// Takes at most so many points out of a metric. Returns `None` if it has none.
fn split_off(metric: &mut Metric, most: usize) -> Option<(Metric, usize)> {
    let (name, description, unit) = (metric.name.clone(), metric.description.clone(), metric.unit.clone());
    let (data, points) = match metric.data.as_mut()? {
        Data::Sum(sum) => {
            let data_points = taken(&mut sum.data_points, most);
            let points = data_points.len();
            let (aggregation_temporality, is_monotonic) = (sum.aggregation_temporality, sum.is_monotonic);
            (Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic }), points)
        }
        Data::Gauge(gauge) => {
            let data_points = taken(&mut gauge.data_points, most);
            let points = data_points.len();
            (Data::Gauge(Gauge { data_points }), points)
        }
        Data::Histogram(histogram) => {
            let data_points = taken(&mut histogram.data_points, most);
            let points = data_points.len();
            let aggregation_temporality = histogram.aggregation_temporality;
            (Data::Histogram(Histogram { data_points, aggregation_temporality }), points)
        }
        Data::ExponentialHistogram(_) | Data::Summary(_) => return None,
    };
    (points > 0).then_some((Metric { name, description, unit, data: Some(data), ..Metric::default() }, points))
}

fn taken<T>(points: &mut Vec<T>, most: usize) -> Vec<T> {
    points.drain(..points.len().min(most)).collect()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::NumberDataPoint;

    use super::*;

    #[test]
    fn no_message_has_too_many_points_and_none_is_lost() {
        let gauge = |name: &str, points: usize| Metric {
            name: name.to_owned(),
            data: Some(Data::Gauge(Gauge { data_points: vec![NumberDataPoint::default(); points] })),
            ..Metric::default()
        };
        let points = |metric: &Metric| match &metric.data {
            Some(Data::Gauge(gauge)) => gauge.data_points.len(),
            other => panic!("{other:?}"),
        };
        for (sizes, expected) in [
            (vec![], vec![]),
            (vec![0], vec![]),
            (vec![1, 2], vec![3]),
            (vec![POINTS_MAX, 1], vec![POINTS_MAX, 1]),
            (vec![1, 2 * POINTS_MAX], vec![POINTS_MAX, POINTS_MAX, 1]),
        ] {
            let metrics = sizes.iter().map(|size| gauge("a", *size)).collect();
            let sent: Vec<usize> =
                in_messages(metrics).iter().map(|message| message.iter().map(points).sum()).collect();
            assert_eq!(sent, expected, "{sizes:?}");
        }
    }
}
