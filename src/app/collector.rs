//! The signals for a collector of OpenTelemetry, as the configuration wants them.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::metrics::v1::Metric;

use super::checked_config::CheckedConfig;
use crate::config::{CollectorSpeaks, TelemetryConfig};
use crate::lifecycle::Lifecycle;
use crate::otlp::{
    CommandSpan, LogRecords, MetricsLoss, OtlpExporter, OtlpProtocol, OtlpSender, OtlpSettings, SpanIds, Spans,
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
    /// Starts the tasks that send spans and log records, where they are wanted.
    ///
    /// # Errors
    /// If the endpoint or a header is malformed.
    pub(super) fn start(config: &CheckedConfig, log: &Log, tasks: &Lifecycle) -> anyhow::Result<Self> {
        let Some(wanted) = &config.plain.telemetry else { return Ok(Self::default()) };
        let settings = settings(wanted, config);
        let mut signals = Self::default();
        if wanted.logs {
            let (records, sender) = (Arc::new(LogRecords::default()), OtlpSender::new(&settings)?);
            tasks.spawn("log records", Arc::clone(&records).run(sender, tasks.stopping().clone()));
            log.record_into(Arc::clone(&records));
            signals.records = Some(records);
        }
        if wanted.metrics {
            let (sender, loss) = (OtlpSender::new(&settings)?, Arc::default());
            let interval = config.metrics_interval.unwrap_or_default().std();
            signals.metrics = Some(CollectedMetricsOutlet { sender, interval, loss });
        }
        if wanted.traces {
            let (exporter, spans) = (OtlpExporter::new(&settings)?, Spans::new(settings.ratio));
            tasks.spawn("spans", Arc::clone(&spans).run(exporter, tasks.stopping().clone()));
            signals.spans = Some(spans);
        }
        Ok(signals)
    }

    /// Makes spans of commands, if spans are wanted.
    pub(super) fn observe(&self, registry: &Registry) {
        let Some(spans) = self.spans.clone() else { return };
        registry.observe_commands(Box::new(move |command| {
            let trace = random::bits();
            if !spans.samples(trace) {
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
        let metrics = self.metrics.as_ref().map(|metrics| ("metrics", metrics.loss.messages()));
        [spans, records, metrics].into_iter().flatten().collect()
    }
}

fn settings(wanted: &TelemetryConfig, config: &CheckedConfig) -> OtlpSettings {
    OtlpSettings {
        endpoint: wanted.endpoint.clone(),
        protocol: match wanted.protocol {
            CollectorSpeaks::Grpc => OtlpProtocol::Grpc,
            CollectorSpeaks::Http => OtlpProtocol::Http,
        },
        headers: wanted.headers.iter().map(|(name, value)| (name.clone(), value.reveal().clone())).collect(),
        timeout: config.otlp_timeout.unwrap_or_default().std(),
        ratio: wanted.sampling_ratio,
        service_name: wanted.service_name.clone(),
        resource: wanted.resource.clone(),
    }
}
