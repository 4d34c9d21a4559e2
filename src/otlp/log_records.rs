//! Lines of the server's log as records for the collector.
//!
//! Invariants: logging never waits for the collector: records for which there is no room are dropped and counted. Lines of the libraries that
//! carry the records make none, or each message would cause the next one.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::sender::{OtlpSender, text};
use crate::clock;

/// The most records that wait to be sent.
const WAITING_MAX: usize = 4096;
/// The most records in one message.
const BATCH_MAX: usize = 512;
/// The time after which waiting records are sent.
const SEND_EVERY: Duration = Duration::from_secs(1);
/// The longest time for the last records when the server stops.
const LAST_RECORDS_MAX: Duration = Duration::from_secs(2);
/// The beginnings of the targets of libraries that carry the records.
const CARRIERS: [&str; 6] = ["h2", "hyper", "tonic", "tower", "opentelemetry", "signalbox::otlp"];

/// The log records that wait to be sent.
#[derive(Debug, Default)]
pub struct LogRecords {
    waiting: Mutex<Vec<LogRecord>>,
    dropped: AtomicU64,
}

impl LogRecords {
    /// Returns the number of records that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    fn push(&self, record: LogRecord) {
        // No code panics while it holds the lock.
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() < WAITING_MAX {
            waiting.push(record);
        } else {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Sends records until `stop`, and then those that are left.
    pub async fn run(self: Arc<Self>, sender: OtlpSender, stop: CancellationToken) {
        while tokio::time::timeout(SEND_EVERY, stop.cancelled()).await.is_err() {
            self.send_all(&sender).await;
        }
        // Records that the collector does not take now are lost with the process.
        let _ = tokio::time::timeout(LAST_RECORDS_MAX, self.send_all(&sender)).await;
    }

    async fn send_all(&self, sender: &OtlpSender) {
        loop {
            let log_records: Vec<LogRecord> = {
                let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                let count = waiting.len().min(BATCH_MAX);
                waiting.drain(..count).collect()
            };
            let count = log_records.len();
            if count == 0 {
                return;
            }
            let scope = InstrumentationScope {
                name: "signalbox".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                ..InstrumentationScope::default()
            };
            let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }];
            let resource = Some(sender.resource());
            let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
            if sender.send_logs(ExportLogsServiceRequest { resource_logs }).await.is_err() {
                self.dropped.fetch_add(count as u64, Ordering::Relaxed);
                return;
            }
        }
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
        if CARRIERS.iter().any(|carrier| target.starts_with(carrier)) {
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
        records.push(record);
    }
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
