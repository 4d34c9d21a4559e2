//! Spans, log records and metrics for collectors of OpenTelemetry, by OTLP.
//!
//! Each signal has a bounded queue and a task that sends its items. Invariants: nobody waits for a collector: items that find no room, or are not
//! taken, are dropped, counted and told; without a collector nothing of this exists. It reads no variables of the process.

mod answer;
mod attributes;
mod client;
mod dial;
mod export;
mod item_queue;
mod log_records;
mod loss_report;
mod metrics;
mod rpc;
mod sender;
mod signal;
mod span_queue;
mod spans;

use std::time::Duration;

use http::{HeaderMap, Uri};

pub use log_records::{LogRecords, RecordLayer};
pub use metrics::{MetricsLoss, send_metrics};
pub use sender::OtlpSender;
pub use span_queue::{Sampling, Spans};
pub use spans::{ClientSpan, CommandSpan, ServerSpan, SpanIds};

/// The name of the program for collectors.
const AGENT: &str = concat!("signalbox/", env!("CARGO_PKG_VERSION"));

/// The protocol to a collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OtlpProtocol {
    /// gRPC.
    #[default]
    Grpc,
    /// Protobuf over HTTP/1.1.
    Http,
}

/// The settings of the messages of one signal.
#[derive(Clone, Debug)]
pub struct OtlpSettings {
    /// The URL of the signal. Over gRPC, only its host and port count.
    pub url: Uri,
    /// The protocol.
    pub protocol: OtlpProtocol,
    /// Fields of each message to the collector.
    pub fields: HeaderMap,
    /// The longest time for one message.
    pub timeout: Duration,
    /// The attributes of the resource.
    pub resource: Vec<(String, String)>,
}
