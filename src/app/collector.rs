//! The signals for a collector of OpenTelemetry, as the configuration wants them.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::Metric;

use super::checked_config::CheckedConfig;
use crate::config::{CollectorConfig, CollectorSpeaks, SamplingConfig};
use crate::lifecycle::Lifecycle;
use crate::otlp::{
    CommandSpan, LogRecords, MetricsLoss, OtlpProtocol, OtlpSender, OtlpSettings, Sampling, SpanIds, Spans,
    send_metrics,
};
use crate::registry::Registry;
use crate::telemetry::Log;
use crate::{clock, random};

/// The signals that a collector gets.
#[derive(Clone, Default)]
pub(super) struct CollectedSignals {
    pub(super) spans: Option<Arc<Spans>>,
    records: Option<Arc<LogRecords>>,
    metrics: Option<CollectedMetricsOutlet>,
}

/// The metrics for a collector.
#[derive(Clone)]
struct CollectedMetricsOutlet {
    sender: OtlpSender,
    interval: Duration,
    loss: Arc<MetricsLoss>,
}

impl CollectedSignals {
    /// Starts the tasks that send spans and log records, where they are wanted, and tells what is left out of the variables of OpenTelemetry.
    pub(super) fn start(config: &CheckedConfig, log: &Log, tasks: &Lifecycle) -> Self {
        let telemetry = &config.plain.telemetry;
        telemetry.notes.iter().for_each(|note| tracing::warn!("{note}"));
        let sender = |of: &Option<CollectorConfig>| of.as_ref().map(|of| OtlpSender::new(&settings(of, config)));
        let records = sender(&telemetry.logs).map(|sender| {
            let records = Arc::new(LogRecords::default());
            tasks.spawn("log records", Arc::clone(&records).run(sender, tasks.stopping().clone()));
            log.record_into(Arc::clone(&records));
            records
        });
        let metrics = sender(&telemetry.metrics).map(|sender| CollectedMetricsOutlet {
            sender,
            interval: config.metrics_interval.std(),
            loss: Arc::default(),
        });
        let spans = sender(&telemetry.traces).map(|sender| {
            let SamplingConfig { ratio, follows_parent } = telemetry.sampling;
            let spans = Spans::new(Sampling { ratio, follows_parent });
            tasks.spawn("spans", Arc::clone(&spans).run(sender, tasks.stopping().clone()));
            spans
        });
        Self { spans, records, metrics }
    }

    /// Makes spans of commands, if spans are wanted.
    pub(super) fn observe(&self, registry: &Registry) {
        let Some(spans) = self.spans.clone() else { return };
        registry.observe_commands(Box::new(move |command| {
            let trace = random::bits();
            if !spans.samples(trace, None) {
                return;
            }
            spans.tell_command(&CommandSpan {
                ids: SpanIds { trace, span: random::seed(), parent: None },
                began_micros: clock::micros_at(command.began),
                ended_micros: clock::micros_at(clock::instant()),
                name: command.name,
                interface: command.origin.interface.name(),
                address: command.origin.address,
                outcome: command.outcome,
                revision: command.revision,
            });
        }));
    }

    /// Starts the task that sends the metrics which `collect` returns, if they are wanted.
    pub(super) fn send_metrics(&self, tasks: &Lifecycle, collect: impl Fn() -> Vec<Metric> + Send + 'static) {
        let Some(CollectedMetricsOutlet { sender, interval, loss }) = self.metrics.clone() else { return };
        tasks.spawn("metrics", send_metrics(sender, interval, loss, collect, tasks.stopping().clone()));
    }

    /// Returns the losses of each signal that is sent.
    pub(super) fn dropped(&self) -> Vec<(&'static str, u64)> {
        let spans = self.spans.as_ref().map(|spans| ("traces", spans.dropped()));
        let records = self.records.as_ref().map(|records| ("logs", records.dropped()));
        let metrics = self.metrics.as_ref().map(|metrics| ("metrics", metrics.loss.points()));
        [spans, records, metrics].into_iter().flatten().collect()
    }
}

fn settings(of: &CollectorConfig, config: &CheckedConfig) -> OtlpSettings {
    OtlpSettings {
        url: of.url.clone(),
        protocol: match of.protocol {
            CollectorSpeaks::Grpc => OtlpProtocol::Grpc,
            CollectorSpeaks::Http => OtlpProtocol::Http,
        },
        fields: of.fields.iter().cloned().collect(),
        timeout: of.timeout.unwrap_or(config.otlp_timeout.std()),
        resource: config.plain.telemetry.resource.clone(),
    }
}
