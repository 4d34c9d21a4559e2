//! Collectors that do not do what they should, and variables that do not say what they should.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::server::{Server, eventually};
use crate::support::PATIENCE;
use crate::support::backend::{Backend, closed_port};
use crate::support::server_harness::ServerHarness;
use crate::support::wire::Wire;

/// The values of `signalbox_otlp_dropped_total` above zero, by signal.
fn dropped(server: &Server) -> BTreeMap<String, f64> {
    let mut wire = Wire::connect(server.api);
    wire.send("GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let text = wire.message().map(|answer| String::from_utf8(answer.body.clone()).unwrap()).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.strip_prefix("signalbox_otlp_dropped_total{signal=\""));
    let values = lines.filter_map(|line| line.split_once("\"} "));
    let values = values.map(|(signal, value)| (signal.to_owned(), value.parse().unwrap()));
    values.filter(|(_, value)| *value > 0.0).collect()
}

/// Starts a server that sends all signals to a collector, and waits until the losses of each are counted and told.
fn loses_all(what: &str, endpoint: &str, protocol: &str) -> String {
    let flags = [
        "--telemetry-otlp-endpoint",
        endpoint,
        "--telemetry-otlp-protocol",
        protocol,
        "--telemetry-otlp-timeout",
        "200ms",
        "--telemetry-sampling-ratio",
        "1",
        "--telemetry-logs",
        "--telemetry-metrics",
        "--telemetry-metrics-interval",
        "100ms",
    ];
    let harness = ServerHarness::with(&flags);
    let log = || std::fs::read_to_string(&harness.server().log).unwrap();
    eventually(&format!("{what}: the losses are counted"), || {
        harness.get("/");
        dropped(harness.server()).len() == 3
    });
    for items in ["spans", "log records", "metrics"] {
        eventually(&format!("{what}: the losses of {items} are told"), || {
            log().contains(&format!("the collector of {items} does not take them all"))
        });
    }
    log()
}

#[test]
fn losses_of_every_signal_are_counted_and_told_whatever_the_collector_does() {
    let dead = format!("http://{}", closed_port());
    loses_all("a dead port", &dead, "grpc");
    loses_all("a dead port", &dead, "http/protobuf");
    // It has a backlog, but never accepts.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let log = loses_all("silence", &endpoint, "http/protobuf");
    assert!(log.contains("no answer within 200ms"), "{log}");
    loses_all("silence", &endpoint, "grpc");
    for (what, answer, said) in [
        ("unavailable", "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", "the answer is 503"),
        ("garbage", "HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\ngarbage", "the answer is none of OTLP"),
    ] {
        let collector = Backend::answering(answer);
        let log = loses_all(what, &collector.url(), "http/protobuf");
        assert!(log.contains(said), "{log}");
    }
}

#[test]
fn what_a_collector_rejects_of_a_message_is_counted_and_told_with_its_words() {
    let error_message = "too many".to_owned();
    let partial_success = Some(ExportMetricsPartialSuccess { rejected_data_points: 1, error_message });
    let body = ExportMetricsServiceResponse { partial_success }.encode_to_vec();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
    let collector = Backend::answering([head.as_bytes(), &body].concat());
    let log = loses_all("a part", &collector.url(), "http/protobuf");
    assert!(log.contains("too many"), "{log}");
}

/// Rejects one span of each message.
struct Rejecter;

#[tonic::async_trait]
impl TraceService for Rejecter {
    async fn export(
        &self,
        _: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let error_message = "not this one".to_owned();
        let partial_success = Some(ExportTracePartialSuccess { rejected_spans: 1, error_message });
        Ok(Response::new(ExportTraceServiceResponse { partial_success }))
    }
}

#[test]
fn a_part_that_is_rejected_over_grpc_counts_as_well() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = tonic::service::Routes::new(TraceServiceServer::new(Rejecter)).into_axum_router();
    runtime.spawn(async move { axum::serve(listener, router).await });
    let log = loses_all("a part", &endpoint, "grpc");
    assert!(log.contains("not this one"), "{log}");
    assert!(log.contains("the answer is Unimplemented"), "the other signals: {log}");
}

/// Starts a server with these variables and flags.
fn with_variables(folder: &std::path::Path, variables: &[(&str, &str)], flags: &[&str]) -> Server {
    let mut command = Server::command(folder);
    command.args(["--telemetry-sampling-ratio", "1"]).args(flags).envs(variables.iter().copied());
    Server::launch(command, folder)
}

#[test]
fn variables_never_stop_the_start_and_their_fields_reach_no_collector_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let collector = Backend::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let variables = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-env=secret,x-both=env,bäd name=1"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-traces=secret"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://[::x"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_TRACES_SAMPLER", "no"),
    ];
    let url = collector.url();
    let flags = [
        "--telemetry-otlp-endpoint",
        &url,
        "--telemetry-otlp-protocol",
        "http/protobuf",
        "--telemetry-otlp-headers",
        "x-both=own",
    ];
    let server = with_variables(folder.path(), &variables, &flags);
    server.get("a", "/");
    let message = collector.heard();
    assert_eq!((message.target(), message.field("x-both")), ("/v1/traces", Some("own")));
    assert_eq!((message.field("x-env"), message.field("x-traces")), (None, None));
    let log = std::fs::read_to_string(&server.log).unwrap();
    for (name, _) in variables {
        assert!(log.contains(name), "{name} is not told: {log}");
    }
    assert!(!log.contains("secret"), "{log}");
}

#[test]
fn a_signal_goes_where_its_own_variable_says() {
    let folder = tempfile::tempdir().unwrap();
    let (tell, got) = channel();
    let tell = Mutex::new(tell);
    let collector = Backend::new(move |mut wire| {
        while let Some(message) = wire.message() {
            let key = message.field("x-key").map(str::to_owned);
            let _ = tell.lock().unwrap().send((message.target().to_owned(), key));
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let endpoint = format!("{}/in?key=1", collector.url());
    let variables = [
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", &*endpoint),
        ("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_LOGS_HEADERS", "x-key=%C3%A4%2Cb"),
        ("OTEL_LOGS_EXPORTER", "otlp,console"),
    ];
    let server = with_variables(folder.path(), &variables, &[]);
    server.get("a", "/");
    let first = got.recv_timeout(PATIENCE).expect("the collector gets records");
    server.terminate();
    let expected = ("/in?key=1".to_owned(), Some("ä,b".to_owned()));
    for message in std::iter::once(first).chain(got.try_iter()) {
        assert_eq!(message, expected);
    }
}
