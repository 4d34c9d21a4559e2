//! The three signals of OTLP, with their messages and answers.

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

/// A signal of OTLP.
pub(super) trait OtlpSignal {
    /// Its items, as the log names them.
    const ITEMS: &'static str;
    /// The call of gRPC.
    const CALL: &'static str;
    /// The items that it sends.
    type Item: Message;
    /// The message.
    type Request: Message + 'static;
    /// The answer.
    type Response: Message + Default + 'static;

    /// Returns the message with these items.
    fn request(resource: Resource, scope: InstrumentationScope, items: Vec<Self::Item>) -> Self::Request;

    /// Returns the number of items that the collector rejected, and what it says of them.
    fn rejected(response: Self::Response) -> Option<(i64, String)>;
}

/// Spans.
pub(super) struct Traces;

/// Log records.
pub(super) struct Logs;

/// Metrics. Points are counted, of which a metric has many.
pub(super) struct Metrics;

impl OtlpSignal for Traces {
    const ITEMS: &'static str = "spans";
    const CALL: &'static str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    type Item = Span;
    type Request = ExportTraceServiceRequest;
    type Response = ExportTraceServiceResponse;

    fn request(resource: Resource, scope: InstrumentationScope, spans: Vec<Span>) -> Self::Request {
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
        let of_resource = ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
        ExportTraceServiceRequest { resource_spans: vec![of_resource] }
    }

    fn rejected(response: Self::Response) -> Option<(i64, String)> {
        response.partial_success.map(|partial| (partial.rejected_spans, partial.error_message))
    }
}

impl OtlpSignal for Logs {
    const ITEMS: &'static str = "log records";
    const CALL: &'static str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    type Item = LogRecord;
    type Request = ExportLogsServiceRequest;
    type Response = ExportLogsServiceResponse;

    fn request(resource: Resource, scope: InstrumentationScope, log_records: Vec<LogRecord>) -> Self::Request {
        let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() }];
        let of_resource = ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() };
        ExportLogsServiceRequest { resource_logs: vec![of_resource] }
    }

    fn rejected(response: Self::Response) -> Option<(i64, String)> {
        response.partial_success.map(|partial| (partial.rejected_log_records, partial.error_message))
    }
}

impl OtlpSignal for Metrics {
    const ITEMS: &'static str = "metrics";
    const CALL: &'static str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
    type Item = Metric;
    type Request = ExportMetricsServiceRequest;
    type Response = ExportMetricsServiceResponse;

    fn request(resource: Resource, scope: InstrumentationScope, metrics: Vec<Metric>) -> Self::Request {
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
        let of_resource = ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() };
        ExportMetricsServiceRequest { resource_metrics: vec![of_resource] }
    }

    fn rejected(response: Self::Response) -> Option<(i64, String)> {
        response.partial_success.map(|partial| (partial.rejected_data_points, partial.error_message))
    }
}
