//! Spans, log records and metrics for a collector of OpenTelemetry, by OTLP.
//!
//! Workers put the spans of sampled requests into a bounded queue; one task sends them. Invariants: nobody waits for the collector: spans for
//! which there is no room, or that it does not take, are dropped and counted; without a collector nothing of this exists.

mod attributes;
mod client;
mod exporter;
mod log_records;
mod metrics;
mod rpc;
mod sender;
mod spans;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use exporter::{ExportError, OtlpExporter};
pub use log_records::{LogRecords, RecordLayer};
pub use metrics::{MetricsLoss, send_metrics};
pub use sender::OtlpSender;
pub use spans::{ClientSpan, CommandSpan, ServerSpan, SpanIds};

/// The most spans that wait to be sent.
const WAITING_MAX: usize = 8192;
/// The most spans in one message, and the number at which the task is woken.
const BATCH_MAX: usize = 512;
/// The time after which waiting spans are sent.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// The longest pause after messages that the collector did not take.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest time for the last spans when the server stops.
const LAST_SPANS_MAX: Duration = Duration::from_secs(2);

/// The protocol to a collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    #[default]
    Grpc,
    /// Protobuf over HTTP/1.1.
    Http,
}

/// The settings of the spans.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpSettings {
    /// The URL of the collector. With HTTP, `/v1/traces` is added.
    pub endpoint: String,
    /// The protocol.
    pub protocol: OtlpProtocol,
    /// Fields of each message to the collector.
    pub headers: HashMap<String, String>,
    /// The longest time for one message.
    pub timeout: Duration,
    /// The share of requests that get spans, from 0 to 1, where no trusted peer decides it.
    pub ratio: f64,
    /// The name of the service.
    pub service_name: String,
    /// Further attributes of the resource.
    pub resource: Vec<(String, String)>,
}

/// The spans that wait to be sent.
#[derive(Debug)]
pub struct Spans {
    sampled_below: u64,
    scope: InstrumentationScope,
    waiting: Mutex<Vec<SpanData>>,
    filled: Notify,
    dropped: AtomicU64,
}

impl Spans {
    /// Creates the queue for a share of the requests, from 0 to 1.
    pub fn new(ratio: f64) -> Arc<Self> {
        let scope = InstrumentationScope::builder("signalbox").with_version(env!("CARGO_PKG_VERSION")).build();
        Arc::new(Self {
            sampled_below: threshold(ratio),
            scope,
            waiting: Mutex::default(),
            filled: Notify::new(),
            dropped: AtomicU64::new(0),
        })
    }

    /// Returns true if a trace with this id belongs to the share, as `TraceIdRatioBased` of OpenTelemetry decides it.
    pub fn samples(&self, trace: u128) -> bool {
        let low = u64::try_from(trace & u128::from(u64::MAX)).unwrap_or(u64::MAX);
        low >> 1 < self.sampled_below
    }

    /// Returns the number of spans that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Adds the spans of a request that has ended.
    pub fn tell(&self, request: &ServerSpan<'_>) {
        self.push(request.data(&self.scope));
    }

    /// Adds the span of a command.
    pub fn tell_command(&self, command: &CommandSpan<'_>) {
        self.push(vec![command.data(&self.scope)]);
    }

    fn push(&self, spans: Vec<SpanData>) {
        // No code panics while it holds the lock.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() + spans.len() > WAITING_MAX {
            drop(waiting);
            self.dropped.fetch_add(spans.len() as u64, Ordering::Relaxed);
            return;
        }
        let before = waiting.len();
        waiting.extend(spans);
        let wakes = before < BATCH_MAX && waiting.len() >= BATCH_MAX;
        drop(waiting);
        if wakes {
            self.filled.notify_one();
        }
    }

    fn take(&self) -> Vec<SpanData> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let count = waiting.len().min(BATCH_MAX);
        waiting.drain(..count).collect()
    }

    /// Sends spans until `stop`, and then those that are left.
    pub async fn run(self: Arc<Self>, exporter: OtlpExporter, stop: CancellationToken) {
        let mut pause = SEND_EVERY;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.filled.notified(), if pause <= SEND_EVERY => {}
                () = stop.cancelled() => {
                    // Spans that the collector does not take now are lost with the process.
                    let _ = tokio::time::timeout(LAST_SPANS_MAX, self.send_all(&exporter)).await;
                    return;
                }
            }
            pause = match self.send_all(&exporter).await {
                Ok(()) => SEND_EVERY,
                Err(lost) => {
                    let lost = self.dropped.fetch_add(lost as u64, Ordering::Relaxed) + lost as u64;
                    if pause <= SEND_EVERY {
                        tracing::warn!(
                            dropped = lost,
                            "the collector of spans does not take them; they are dropped until it does"
                        );
                    }
                    (pause * 2).min(PAUSE_MAX)
                }
            };
        }
    }

    /// Sends all that waits.
    ///
    /// # Errors
    /// The number of spans in a message that the collector did not take.
    async fn send_all(&self, exporter: &OtlpExporter) -> Result<(), usize> {
        loop {
            let batch = self.take();
            let count = batch.len();
            if count == 0 {
                return Ok(());
            }
            exporter.0.export(batch).await.map_err(|error| {
                tracing::debug!(%error, "spans were not sent");
                count
            })?;
            if count < BATCH_MAX {
                return Ok(());
            }
        }
    }
}

/// Returns the number below which the upper 63 of the lower 64 bits of a trace id belong to the share.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the share is between 0 and 1")]
fn threshold(ratio: f64) -> u64 {
    const ALL: u64 = 1 << 63;
    if ratio >= 1.0 { ALL } else { (ratio.max(0.0) * 9_223_372_036_854_775_808.0) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_of_the_ids_and_the_same_for_the_same_id() {
        let ids = || (0..10_000_u128).map(|number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835));
        for (ratio, least, most) in [(0.0, 0, 0), (0.1, 900, 1100), (1.0, 10_000, 10_000), (7.0, 10_000, 10_000)] {
            let spans = Spans::new(ratio);
            let count = ids().filter(|id| spans.samples(*id)).count();
            assert!((least..=most).contains(&count), "{ratio}: {count}");
        }
    }
}
