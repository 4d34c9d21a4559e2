//! Lines of the server's log as records for the collector.
//!
//! Invariants: logging never waits for the collector: records for which there is no room are dropped and counted. Lines of the libraries that
//! carry the records make none, or each message would cause the next one.

use std::fmt;
use std::sync::{Arc, OnceLock};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::export::export;
use super::item_queue::ItemQueue;
use super::sender::{OtlpSender, text};
use super::signal::Logs;
use crate::clock;

/// The most records that wait to be sent.
const WAITING_MAX: usize = 4096;
/// The beginnings of the targets of libraries that carry the records.
const CARRIERS: [&str; 7] = ["h2", "hyper", "tonic", "tower", "opentelemetry", "rustls", "signalbox::otlp"];

/// The target of all lines of libraries that use the crate `log`, and the field that has their own one.
const FOREIGN: &str = "log";
const FOREIGN_TARGET: &str = "log.target";

/// The log records that wait to be sent.
#[derive(Debug)]
pub struct LogRecords(ItemQueue<LogRecord>);

impl Default for LogRecords {
    fn default() -> Self {
        Self(ItemQueue::new(WAITING_MAX))
    }
}

impl LogRecords {
    /// Returns the number of records that were dropped.
    pub fn dropped(&self) -> u64 {
        self.0.lost()
    }

    /// Sends records until `stop`, and then those that are left.
    pub async fn run(self: Arc<Self>, sender: OtlpSender, stop: CancellationToken) {
        export::<Logs>(&self.0, &sender, &stop).await;
    }
}

/// The layer of the log that makes records, once it is told where to put them. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct RecordLayer(Arc<OnceLock<Arc<LogRecords>>>);

impl RecordLayer {
    /// Makes records from now on. Only the first call counts.
    pub fn put_into(&self, records: Arc<LogRecords>) {
        let _ = self.0.set(records);
    }
}

impl<S: Subscriber> Layer<S> for RecordLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(records) = self.0.get() else { return };
        let (target, level) = (event.metadata().target(), *event.metadata().level());
        if is_of_carrier(target) {
            return;
        }
        let nanos = clock::micros_at(clock::instant()).saturating_mul(1000);
        let mut record = LogRecord {
            time_unix_nano: nanos,
            observed_time_unix_nano: nanos,
            severity_number: severity(level),
            severity_text: level.to_string(),
            attributes: vec![text("target", target)],
            ..LogRecord::default()
        };
        event.record(&mut RecordFields(&mut record));
        if target == FOREIGN
            && record.attributes.iter().any(|field| field.key == FOREIGN_TARGET && names_carrier(field))
        {
            return;
        }
        records.0.push(vec![record]);
    }
}

fn is_of_carrier(target: &str) -> bool {
    CARRIERS.iter().any(|carrier| target.starts_with(carrier))
}

fn names_carrier(field: &KeyValue) -> bool {
    let value = field.value.as_ref().and_then(|value| value.value.as_ref());
    matches!(value, Some(Value::StringValue(target)) if is_of_carrier(target))
}

/// Returns the number of a level (OpenTelemetry, Logs Data Model, `SeverityNumber`).
fn severity(level: Level) -> i32 {
    match level {
        Level::ERROR => 17,
        Level::WARN => 13,
        Level::INFO => 9,
        Level::DEBUG => 5,
        Level::TRACE => 1,
    }
}

/// Puts the fields of a line into a record: its message is the body.
struct RecordFields<'a>(&'a mut LogRecord);

impl RecordFields<'_> {
    fn put(&mut self, field: &Field, value: Value) {
        let value = Some(AnyValue { value: Some(value) });
        if field.name() == "message" {
            self.0.body = value;
        } else {
            self.0.attributes.push(KeyValue { key: field.name().to_owned(), value, ..KeyValue::default() });
        }
    }
}

impl Visit for RecordFields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, Value::StringValue(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::StringValue(value.to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::IntValue(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, i64::try_from(value).map_or_else(|_| Value::StringValue(value.to_string()), Value::IntValue));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::BoolValue(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, Value::DoubleValue(value));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn lines_of_what_carries_the_records_make_none() {
        let (layer, records) = (RecordLayer::default(), Arc::new(LogRecords::default()));
        layer.put_into(Arc::clone(&records));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(target: "signalbox::otlp::loss_report", "lost");
            tracing::debug!(target: "hyper_util::client", "connected");
            tracing::debug!(target: "log", { log.target = "rustls::client" }, "handshake");
            tracing::info!(target: "log", { log.target = "other" }, "kept");
            tracing::info!(target: "signalbox::app", "kept");
        });
        assert_eq!(records.0.take().0.len(), 2);
    }
}
