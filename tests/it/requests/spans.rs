//! Spans of requests, as a collector of OpenTelemetry gets them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tonic::{Request, Response, Status};

use crate::server::eventually;
use crate::support::backend::{Backend, KillableBackend, closed_port};
use crate::support::server_harness::ServerHarness;

const WAIT: Duration = Duration::from_secs(20);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A collector that passes on what it gets.
pub struct Collector {
    address: SocketAddr,
    got: Receiver<(ExportTraceServiceRequest, Option<String>)>,
    _runtime: Option<tokio::runtime::Runtime>,
}

struct Taker(Sender<(ExportTraceServiceRequest, Option<String>)>);

#[tonic::async_trait]
impl TraceService for Taker {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let key = request.metadata().get("x-key").and_then(|key| key.to_str().ok()).map(str::to_owned);
        let _ = self.0.send((request.into_inner(), key));
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub fn over_grpc() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (tell, got) = channel();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let router = tonic::service::Routes::new(TraceServiceServer::new(Taker(tell))).into_axum_router();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, got, _runtime: Some(runtime) }
    }

    fn over_http() -> Self {
        let (tell, got) = channel();
        let tell = std::sync::Mutex::new(tell);
        let backend = Backend::new(move |mut wire| {
            while let Some(message) = wire.message() {
                assert_eq!(
                    (message.target(), message.field("content-type")),
                    ("/v1/traces", Some("application/x-protobuf"))
                );
                let key = message.field("x-key").map(str::to_owned);
                let _ = tell.lock().unwrap().send((ExportTraceServiceRequest::decode(&*message.body).unwrap(), key));
                wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            }
        });
        Self { address: backend.address(), got, _runtime: None }
    }

    pub fn harness(&self, protocol: &str, flags: &[&str]) -> ServerHarness {
        let endpoint = format!("http://{}", self.address);
        let own = ["--telemetry-otlp-endpoint", &endpoint, "--telemetry-otlp-protocol", protocol];
        ServerHarness::with(&[&own, flags].concat())
    }

    /// Returns the spans of the next message with spans of requests, with the key and the attributes of its resource.
    pub fn next(&self) -> (Vec<Span>, Option<String>, BTreeMap<String, String>) {
        loop {
            let (mut spans, key, resource) = self.next_of_all();
            spans.retain(|span| !span.name.starts_with("command "));
            if !spans.is_empty() {
                return (spans, key, resource);
            }
        }
    }

    /// The same, with spans of commands.
    fn next_of_all(&self) -> (Vec<Span>, Option<String>, BTreeMap<String, String>) {
        let (message, key) = self.got.recv_timeout(WAIT).expect("the collector gets spans");
        let of_resource = message.resource_spans[0].resource.clone().unwrap().attributes;
        let spans = message.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        (spans.flat_map(|scope| scope.spans).collect(), key, texts(&of_resource))
    }
}

pub fn texts(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let pair = |pair: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        (pair.key.clone(), pair.value.as_ref().and_then(|value| value.value.as_ref()).map(text).unwrap_or_default())
    };
    attributes.iter().map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_request_is_a_span_with_one_below_it_for_each_attempt() {
    for protocol in ["grpc", "http/protobuf"] {
        let collector = if protocol == "grpc" { Collector::over_grpc() } else { Collector::over_http() };
        let flags = [
            "--telemetry-sampling-ratio",
            "1",
            "--telemetry-otlp-headers",
            "x-key=secret",
            "--telemetry-service-name",
            "edge",
            "--telemetry-resource",
            "zone=a",
        ];
        let harness = collector.harness(protocol, &flags);
        let (backend, mortal) = (Backend::named("b"), KillableBackend::named("b"));
        let down = mortal.url();
        let _instances = [("shop-1", backend.url()), ("shop-2", mortal.url())].map(|(name, url)| {
            let mut instance = harness.empty(name);
            instance.add("*", "/api", &url);
            instance.set("OPTIONS_SET", "r1|load_balancing|round_robin");
            eventually("it is well", || !instance.payload("CIRCUIT_BREAKER_STATUS", "r1")["last_check"].is_null());
            instance
        });
        mortal.kill();
        let retried = || {
            let mut wire = harness.connect();
            wire.send("GET /api/x?token=t HTTP/1.1\r\nhost: a\r\nuser-agent: ua\r\n\r\n");
            assert_eq!(wire.message().unwrap().status(), 200);
            let (spans, key, resource) = collector.next();
            assert_eq!((key.as_deref(), &*resource["service.name"], &*resource["zone"]), (Some("secret"), "edge", "a"));
            (spans.len() == 3).then_some(spans)
        };
        let mut found = None;
        eventually("an attempt failed and another one succeeded", || {
            found = retried();
            let heard = backend.heard();
            found.is_some() && heard.field("traceparent").is_some() && {
                let spans = found.as_ref().unwrap();
                let last = spans.last().unwrap();
                heard.field("traceparent") == Some(&format!("00-{}-{}-01", hex(&last.trace_id), hex(&last.span_id)))
            }
        });
        let spans = found.unwrap();
        let (server, attempts) = spans.split_first().unwrap();
        assert_eq!((&*server.name, server.kind), ("GET /api", 2));
        let of_server = texts(&server.attributes);
        for (key, value) in [
            ("http.request.method", "GET"),
            ("url.path", "/api/x"),
            ("url.query", "token=***"),
            ("url.scheme", "http"),
            ("http.route", "/api"),
            ("http.response.status_code", "200"),
            ("network.protocol.version", "1.1"),
            ("client.address", "127.0.0.1"),
            ("user_agent.original", "ua"),
            ("signalbox.service", "shop"),
        ] {
            assert_eq!(of_server.get(key).map(String::as_str), Some(value), "{key} in {of_server:?}");
        }
        for attempt in attempts {
            assert_eq!(
                (attempt.kind, &attempt.parent_span_id, &attempt.trace_id),
                (3, &server.span_id, &server.trace_id)
            );
            assert!(attempt.start_time_unix_nano >= server.start_time_unix_nano);
            assert!(attempt.end_time_unix_nano <= server.end_time_unix_nano);
        }
        let [failed, answered] = [0, 1].map(|number: usize| texts(&attempts[number].attributes));
        assert_eq!(failed.get("error.type").map(String::as_str), Some("connection_refused"));
        assert_eq!(failed.get("server.port"), down.rsplit(':').next().map(str::to_owned).as_ref());
        assert_eq!(failed.get("http.request.resend_count"), None);
        assert_eq!(answered.get("http.request.resend_count").map(String::as_str), Some("1"));
        assert_eq!(answered.get("http.response.status_code").map(String::as_str), Some("200"));
    }
}

#[test]
fn a_trusted_peer_decides_what_is_sampled_and_others_only_name_the_trace() {
    let parent = |flags: &str| format!("traceparent: 00-{TRACE}-b7ad6b7169203331-{flags}\r\n");
    for (trusted, ratio, flags, is_sampled) in
        [(true, "0", "01", true), (true, "1", "00", false), (false, "0", "01", false), (false, "1", "00", true)]
    {
        let collector = Collector::over_grpc();
        let trust: &[&str] = if trusted { &["--proxy-trusted-proxies", "127.0.0.1"] } else { &[] };
        let harness = collector.harness("grpc", &[trust, &["--telemetry-sampling-ratio", ratio]].concat());
        let backend = Backend::named("b");
        let _instance = harness.instance("shop-1", &backend);
        let mut wire = harness.connect();
        wire.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", parent(flags)));
        wire.message().unwrap();
        let what = format!("trusted {trusted}, ratio {ratio}, flags {flags}");
        let told = backend.heard().field("traceparent").unwrap().to_owned();
        assert!(told.starts_with(&format!("00-{TRACE}-")), "{what}: {told}");
        assert_eq!(told.contains("b7ad6b7169203331"), !is_sampled, "{what}: {told}");
        if is_sampled {
            let (spans, ..) = collector.next();
            assert_eq!(
                (hex(&spans[0].trace_id), hex(&spans[0].parent_span_id)),
                (TRACE.to_owned(), "b7ad6b7169203331".to_owned())
            );
        } else {
            harness.server().signal("TERM");
            let all: Vec<_> =
                std::iter::from_fn(|| collector.got.recv_timeout(Duration::from_millis(1500)).ok()).collect();
            assert!(!format!("{all:?}").contains("url.path"), "{what}");
        }
    }
}

#[test]
fn a_backend_is_told_of_a_trace_only_what_is_true_here() {
    let parent = |flags: &str| format!("traceparent: 00-{TRACE}-b7ad6b7169203331-{flags}\r\n");
    let (goes_on, bad) = (parent("03"), format!("traceparent: ff-{TRACE}-b7ad6b7169203331-01\r\n"));
    let (twice, state) = (parent("01").repeat(2), "tracestate: a=1\r\n");
    for (ratio, fields, parents, has_state) in [
        // The trace goes on, and its state with it; the flags are those of this server, and the id is as random as before.
        ("1", &*goes_on, format!("00-{TRACE}-*-03"), true),
        ("1", &bad, "00-*-*-01".to_owned(), false),
        ("1", &twice, "00-*-*-01".to_owned(), false),
        ("1", "", "00-*-*-01".to_owned(), false),
        ("0", &goes_on, format!("00-{TRACE}-b7ad6b7169203331-02"), true),
        ("0", &parent("00"), format!("00-{TRACE}-b7ad6b7169203331-00"), true),
        // The proxy makes no trace.
        ("0", &bad, format!("ff-{TRACE}-b7ad6b7169203331-01"), true),
        ("0", "", String::new(), true),
    ] {
        let collector = Collector::over_grpc();
        let harness = collector.harness("grpc", &["--telemetry-sampling-ratio", ratio]);
        let backend = Backend::named("b");
        let _instance = harness.instance("shop-1", &backend);
        let mut wire = harness.connect();
        wire.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}{state}\r\n"));
        wire.message().unwrap();
        let heard = backend.heard();
        let told: Vec<&str> = heard.field("traceparent").into_iter().flat_map(|field| field.split('-')).collect();
        let wanted: Vec<&str> = parents.split('-').filter(|part| !part.is_empty()).collect();
        let what = format!("ratio {ratio}, {fields:?}: {told:?}");
        assert_eq!(told.len(), wanted.len(), "{what}");
        assert!(wanted.iter().zip(&told).all(|(wanted, told)| *wanted == "*" || wanted == told), "{what}");
        assert!(told.get(1).is_none_or(|trace| (*trace == TRACE) == parents.contains(TRACE)), "{what}");
        assert_eq!(heard.field("tracestate").is_some(), has_state, "{what}");
    }
}

#[test]
fn a_collector_that_is_away_costs_a_line_in_the_log_and_no_request() {
    let endpoint = format!("http://{}", closed_port());
    let harness = ServerHarness::with(&["--telemetry-otlp-endpoint", &endpoint, "--telemetry-sampling-ratio", "1"]);
    let backend = Backend::named("b");
    let _instance = harness.instance("shop-1", &backend);
    let log = harness.server().log.clone();
    eventually("it is told", || {
        assert_eq!(harness.status("/"), 200);
        std::fs::read_to_string(&log).unwrap().contains("the collector of spans does not take them all")
    });
}

#[test]
fn the_last_spans_are_sent_before_the_server_ends() {
    let collector = Collector::over_http();
    let harness = collector.harness("http/protobuf", &["--telemetry-sampling-ratio", "1"]);
    harness.get("/last");
    harness.server().signal("TERM");
    let (spans, ..) = collector.next();
    assert_eq!(texts(&spans[0].attributes)["url.path"], "/last");
    assert_eq!((&*spans[0].name, &*texts(&spans[0].attributes)["http.response.status_code"]), ("GET", "404"));
}

#[test]
fn lines_of_the_log_are_records_if_that_is_wanted() {
    let (tell, got) = channel();
    let tell = std::sync::Mutex::new(tell);
    let backend = Backend::new(move |mut wire| {
        while let Some(message) = wire.message() {
            if message.target() == "/v1/logs" {
                let _ = tell.lock().unwrap().send(ExportLogsServiceRequest::decode(&*message.body).unwrap());
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let flags = ["--telemetry-otlp-protocol", "http/protobuf", "--telemetry-logs", "--telemetry-traces", "false"];
    let endpoint = ["--telemetry-otlp-endpoint", &backend.url()];
    let harness = ServerHarness::with(&[&endpoint, &flags[..]].concat());
    harness.server().signal("HUP");
    let mut found = None;
    eventually("the reload is told", || {
        let message = got.recv_timeout(WAIT).expect("the collector gets records");
        let records = message.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        let is_told = |record: &LogRecord| format!("{:?}", record.body).contains("the configuration was read again");
        found = records.flat_map(|scope| scope.log_records).find(is_told);
        found.is_some()
    });
    let record = found.unwrap();
    assert_eq!((&*record.severity_text, record.severity_number), ("INFO", 9));
    assert_eq!(texts(&record.attributes)["reason"], "SIGHUP");
}

#[test]
fn metrics_are_sent_if_that_is_wanted() {
    let (tell, got) = channel();
    let tell = std::sync::Mutex::new(tell);
    let backend = Backend::new(move |mut wire| {
        while let Some(message) = wire.message() {
            if message.target() == "/v1/metrics" {
                let _ = tell.lock().unwrap().send(ExportMetricsServiceRequest::decode(&*message.body).unwrap());
            }
            wire.send("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let flags = ["--telemetry-otlp-protocol", "http/protobuf", "--telemetry-metrics", "--telemetry-metrics-interval"];
    let endpoint = ["100ms", "--telemetry-otlp-endpoint", &backend.url()];
    let harness = ServerHarness::with(&[&flags[..], &endpoint].concat());
    assert_eq!(harness.status("/"), 404);
    let mut found = None;
    eventually("the refusal is counted", || {
        let message = got.recv_timeout(WAIT).expect("the collector gets metrics");
        let scopes = message.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        let metrics: Vec<Metric> = scopes.flat_map(|scope| scope.metrics).collect();
        let refusals = metrics.iter().find(|metric| metric.name == "signalbox_refusals");
        found = refusals.and_then(|metric| match &metric.data {
            Some(Data::Sum(sum)) if sum.is_monotonic => sum.data_points.first().cloned(),
            _ => None,
        });
        found.is_some() && metrics.iter().any(|metric| metric.name == "process_cpu_seconds" && metric.unit == "s")
    });
    let point = found.unwrap();
    assert_eq!(texts(&point.attributes)["reason"], "no_route");
    assert!(point.start_time_unix_nano > 0 && point.time_unix_nano >= point.start_time_unix_nano);
}

#[test]
fn commands_are_spans_with_their_interface_outcome_and_revision() {
    let collector = Collector::over_grpc();
    let harness = collector.harness("grpc", &["--telemetry-sampling-ratio", "1"]);
    let mut instance = harness.empty("shop-1");
    instance.add("*", "/", "http://127.0.0.1:9");
    instance.apply();
    assert!(instance.ask("ROUTE_REMOVE", "r9").starts_with("ERROR|"));
    // These never reach the writer.
    assert!(instance.ask("ROUTE_ADD", "bad domain|/|http://b|0").starts_with("ERROR|"));
    assert_eq!(harness.operate("PUT", "/v1/services/s/instances/i", "{}x"), 400);
    assert_eq!(harness.operate("DELETE", "/v1/instances/shop/shop-1", ""), 204);
    let mut seen: Vec<BTreeMap<String, String>> = Vec::new();
    let found = |seen: &[BTreeMap<String, String>], interface: &str, command: &str, outcome: &str| {
        let is = |span: &BTreeMap<String, String>, key: &str, value: &str| span.get(key).is_some_and(|is| is == value);
        seen.iter().any(|span| {
            is(span, "signalbox.command", command)
                && is(span, "signalbox.interface", interface)
                && is(span, "signalbox.outcome", outcome)
                && span["signalbox.revision"].parse::<u64>().is_ok()
                && is(span, "client.address", "127.0.0.1")
        })
    };
    eventually("all are told", || {
        seen.extend(collector.next_of_all().0.iter().map(|span| texts(&span.attributes)));
        found(&seen, "pipe", "ConfigApply", "ok")
            && found(&seen, "pipe", "RouteRemove", "not_found")
            && found(&seen, "pipe", "RouteAdd", "invalid")
            && found(&seen, "rest", "PutInstance", "invalid")
            && found(&seen, "rest", "ClientShutdown", "ok")
    });
}
