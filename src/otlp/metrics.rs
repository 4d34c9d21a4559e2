//! The task that sends metrics to the collector, in messages of a bounded size.
//!
//! Invariant: nothing is kept for later: the next metrics say all that these say.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Histogram, Metric, Sum};
use prost::Message;
use tokio_util::sync::CancellationToken;

use super::export::{ASKED_PAUSE_MAX, LAST_ITEMS_MAX};
use super::item_queue::MESSAGE_BYTES_MAX;
use super::loss_report::LossReport;
use super::sender::OtlpSender;
use super::signal::{Metrics, OtlpSignal as _};
use crate::clock;

/// The number of points of metrics that the collector did not take.
#[derive(Debug, Default)]
pub struct MetricsLoss(AtomicU64);

impl MetricsLoss {
    /// Returns the number.
    pub fn points(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, points: usize) {
        self.0.fetch_add(points as u64, Ordering::Relaxed);
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
    let (mut report, mut pause) = (LossReport::new(Metrics::ITEMS), interval);
    while tokio::time::timeout(pause, stop.cancelled()).await.is_err() {
        tokio::select! {
            asked = send_round(&sender, &loss, &mut report, collect()) => {
                pause = asked.unwrap_or_default().min(ASKED_PAUSE_MAX).max(interval);
            }
            // The last ones say all that these say.
            () = stop.cancelled() => {}
        }
        report.tell(loss.points(), clock::instant());
    }
    let last = send_round(&sender, &loss, &mut report, collect());
    let _ = tokio::time::timeout(LAST_ITEMS_MAX, last).await;
    loss.add(report.give_up());
    report.tell_last(loss.points(), clock::instant());
}

/// Sends metrics. Returns the pause that the collector asked for, if it did.
async fn send_round(
    sender: &OtlpSender,
    loss: &MetricsLoss,
    report: &mut LossReport,
    metrics: Vec<Metric>,
) -> Option<Duration> {
    report.under_way = points(&metrics);
    for message in in_messages(metrics) {
        let count = points(&message);
        match sender.send::<Metrics>(message).await {
            Ok(rejected) if rejected.items == 0 && rejected.why.is_empty() => {}
            Ok(rejected) => {
                loss.add(usize::try_from(rejected.items).unwrap_or(count).min(count));
                report.failed(rejected.why);
            }
            Err(failure) => {
                loss.add(count);
                report.failed(failure.why);
                if failure.is_of_all {
                    loss.add(std::mem::take(&mut report.under_way).saturating_sub(count));
                    return failure.wait;
                }
            }
        }
        report.under_way = report.under_way.saturating_sub(count);
    }
    None
}

/// Returns the number of points of metrics.
fn points(metrics: &[Metric]) -> usize {
    let of_metric = |metric: &Metric| match &metric.data {
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(_) | Data::Summary(_)) | None => 0,
    };
    metrics.iter().map(of_metric).sum()
}

/// Parts metrics into messages of at most [`MESSAGE_BYTES_MAX`] and one point.
fn in_messages(metrics: Vec<Metric>) -> Vec<Vec<Metric>> {
    let (mut messages, mut room) = (vec![Vec::new()], MESSAGE_BYTES_MAX);
    for mut metric in metrics {
        while let Some(part) = split_off(&mut metric, room) {
            room = room.saturating_sub(part.encoded_len());
            if let Some(message) = messages.last_mut() {
                message.push(part);
            }
            if room == 0 || points(std::slice::from_ref(&metric)) > 0 {
                messages.push(Vec::new());
                room = MESSAGE_BYTES_MAX;
            }
        }
    }
    messages.retain(|message| !message.is_empty());
    messages
}

/// Takes at least one point out of a metric, and as many as there is room for. Returns `None` if it has none.
fn split_off(metric: &mut Metric, room: usize) -> Option<Metric> {
    let (name, description, unit) = (metric.name.clone(), metric.description.clone(), metric.unit.clone());
    let mut part = Metric { name, description, unit, ..Metric::default() };
    let room = room.saturating_sub(part.encoded_len());
    let data = match metric.data.as_mut()? {
        Data::Sum(sum) => {
            let data_points = taken(&mut sum.data_points, room)?;
            let (aggregation_temporality, is_monotonic) = (sum.aggregation_temporality, sum.is_monotonic);
            Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })
        }
        Data::Gauge(gauge) => Data::Gauge(Gauge { data_points: taken(&mut gauge.data_points, room)? }),
        Data::Histogram(histogram) => {
            let data_points = taken(&mut histogram.data_points, room)?;
            Data::Histogram(Histogram { data_points, aggregation_temporality: histogram.aggregation_temporality })
        }
        Data::ExponentialHistogram(_) | Data::Summary(_) => return None,
    };
    part.data = Some(data);
    Some(part)
}

/// Takes the first point, and those behind it for which there is room.
fn taken<T: Message>(points: &mut Vec<T>, room: usize) -> Option<Vec<T>> {
    let mut bytes = 0;
    let fits = |point: &&T| {
        // The tag and the length of a point take up to 6 bytes.
        bytes += point.encoded_len() + 6;
        bytes <= room
    };
    let count = points.iter().take_while(fits).count().max(1).min(points.len());
    (count > 0).then(|| points.drain(..count).collect())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::metrics::v1::NumberDataPoint;

    use super::super::sender::text;
    use super::super::{OtlpProtocol, OtlpSettings};
    use super::*;

    /// Metrics that make this number of messages, with one point in each.
    fn large(messages: usize) -> Vec<Metric> {
        let attributes = vec![text("label", &"x".repeat(MESSAGE_BYTES_MAX))];
        let point = NumberDataPoint { attributes, ..NumberDataPoint::default() };
        let data = Some(Data::Gauge(Gauge { data_points: vec![point; messages] }));
        vec![Metric { data, ..Metric::default() }]
    }

    #[tokio::test]
    async fn a_refused_message_drops_the_rest_only_if_the_collector_takes_no_other() {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        for (status, expected, lost) in [("400 No", 3, 3), ("503 No", 1, 3), ("200 OK", 3, 0)] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let settings = OtlpSettings {
                url: format!("http://{}/v1/metrics", listener.local_addr().unwrap()).parse().unwrap(),
                protocol: OtlpProtocol::Http,
                fields: http::HeaderMap::new(),
                timeout: Duration::from_secs(20),
                resource: Vec::new(),
            };
            let (sender, loss) = (OtlpSender::new(&settings), MetricsLoss::default());
            let answered = async {
                let mut count = 0;
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    count += 1;
                    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                    let mut bytes = vec![0; 1 << 16];
                    let mut left = MESSAGE_BYTES_MAX;
                    while left > 0 {
                        left = left.saturating_sub(stream.read(&mut bytes).await.unwrap());
                    }
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    // The rest of the message, until the client ends the connection.
                    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
                    if count == expected {
                        return;
                    }
                }
            };
            let mut report = LossReport::new(Metrics::ITEMS);
            tokio::join!(send_round(&sender, &loss, &mut report, large(3)), answered);
            assert_eq!(loss.points(), lost, "{status}");
        }
    }

    #[test]
    fn no_message_of_metrics_is_too_large_and_no_point_is_lost() {
        let gauge = |points: usize, label_bytes: usize| {
            let attributes = vec![text("label", &"x".repeat(label_bytes))];
            let point = NumberDataPoint { attributes, ..NumberDataPoint::default() };
            let data = Some(Data::Gauge(Gauge { data_points: vec![point; points] }));
            Metric { name: "a".to_owned(), data, ..Metric::default() }
        };
        for sizes in [
            vec![],
            vec![(0, 1)],
            vec![(1, 1), (2, 1)],
            vec![(50_000, 10), (1, 10)],
            vec![(4_500, 1_100); 3],
            vec![(1, MESSAGE_BYTES_MAX), (1, 1), (3, MESSAGE_BYTES_MAX / 2)],
        ] {
            let metrics: Vec<Metric> = sizes.iter().map(|(points, bytes)| gauge(*points, *bytes)).collect();
            let (before, bytes) = (points(&metrics), metrics.iter().map(Message::encoded_len).sum::<usize>());
            let largest = sizes.iter().map(|(_, bytes)| bytes + 100).max().unwrap_or_default();
            let messages = in_messages(metrics);
            assert_eq!(messages.iter().map(|message| points(message)).sum::<usize>(), before, "{sizes:?}");
            for message in &messages {
                let bytes: usize = message.iter().map(Message::encoded_len).sum();
                assert!(bytes <= MESSAGE_BYTES_MAX + largest, "{sizes:?}: {bytes}");
            }
            let needed = bytes.div_ceil(MESSAGE_BYTES_MAX);
            assert!(messages.len() <= 2 * needed, "{sizes:?}: {} messages for {bytes} bytes", messages.len());
        }
    }
}
