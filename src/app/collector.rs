//! The spans for a collector, as the configuration wants them.

use std::sync::Arc;

use super::checked_config::CheckedConfig;
use crate::config::CollectorSpeaks;
use crate::lifecycle::Lifecycle;
use crate::otlp::{LogRecords, OtlpExporter, OtlpProtocol, OtlpSender, OtlpSettings, Spans};
use crate::telemetry::Log;

/// Starts the tasks that send spans and log records, if there is a collector for them. Returns the queue for spans.
///
/// # Errors
/// If the endpoint or a header is malformed.
pub(super) fn start(config: &CheckedConfig, log: &Log, tasks: &Lifecycle) -> anyhow::Result<Option<Arc<Spans>>> {
    let (Some(wanted), Some(timeout)) = (&config.plain.telemetry, config.otlp_timeout) else { return Ok(None) };
    let settings = OtlpSettings {
        endpoint: wanted.endpoint.clone(),
        protocol: match wanted.protocol {
            CollectorSpeaks::Grpc => OtlpProtocol::Grpc,
            CollectorSpeaks::Http => OtlpProtocol::Http,
        },
        headers: wanted.headers.iter().map(|(name, value)| (name.clone(), value.reveal().clone())).collect(),
        timeout: timeout.std(),
        ratio: wanted.sampling_ratio,
        service_name: wanted.service_name.clone(),
        resource: wanted.resource.clone(),
    };
    if wanted.logs {
        let (records, sender) = (Arc::new(LogRecords::default()), OtlpSender::new(&settings)?);
        tasks.spawn("log records", Arc::clone(&records).run(sender, tasks.stopping().clone()));
        log.record_into(records);
    }
    if !wanted.traces {
        return Ok(None);
    }
    let (exporter, spans) = (OtlpExporter::new(&settings)?, Spans::new(settings.ratio));
    tasks.spawn("spans", Arc::clone(&spans).run(exporter, tasks.stopping().clone()));
    Ok(Some(spans))
}
