//! Spans of requests, with the names of the semantic conventions for HTTP and RPC (OpenTelemetry 1.3x).
//!
//! A request is one span of a server; each attempt at a backend is a span of a client below it. Invariants: text of a client is bounded, and the
//! name of a span comes from the configuration alone.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;

use crate::domain::BackendUrl;
use crate::json::requests::{RequestView, TEXT_BYTES_MAX};

/// The methods that a span names; others are `_OTHER`.
const METHODS: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"];

/// The ids of the span of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanIds {
    /// The trace.
    pub trace: u128,
    /// The span.
    pub span: u64,
    /// The span above it, if a peer named one.
    pub parent: Option<u64>,
}

/// A request that has ended.
pub struct ServerSpan<'a> {
    /// The ids of its span.
    pub ids: SpanIds,
    /// The time of its head, in microseconds since the Unix epoch.
    pub began_micros: u64,
    /// The time of its end.
    pub ended_micros: u64,
    /// The request.
    pub request: &'a RequestView<'a>,
    /// The path of its route.
    pub route: Option<&'a str>,
    /// True for a gRPC call.
    pub is_call: bool,
    /// The attempts at backends.
    pub attempts: Vec<ClientSpan<'a>>,
}

/// An attempt at a backend.
pub struct ClientSpan<'a> {
    /// The id of its span.
    pub span: u64,
    /// The time of its begin, in microseconds since the Unix epoch.
    pub began_micros: u64,
    /// The time of its end.
    pub ended_micros: u64,
    /// The backend.
    pub backend: &'a BackendUrl,
    /// The status of the response, if there was one.
    pub status: Option<u16>,
    /// The type of the failure (RFC 9209 §2.3), if there was none.
    pub error: Option<&'static str>,
}

/// A command of the registry that was decided.
pub struct CommandSpan<'a> {
    /// The ids of its span.
    pub ids: SpanIds,
    /// The time of the beginning of its decision, in microseconds since the Unix epoch.
    pub began_micros: u64,
    /// The time of its end.
    pub ended_micros: u64,
    /// The name of the command.
    pub name: &'static str,
    /// The interface that it came through.
    pub interface: &'static str,
    /// The address of the caller, if it is known.
    pub address: Option<IpAddr>,
    /// `ok`, or the kind of the refusal.
    pub outcome: &'a str,
    /// The revision of the registry behind it.
    pub revision: u64,
}

/// The kinds of refusals that are faults of the server.
const FAULTS: [&str; 2] = ["unavailable", "internal"];

impl CommandSpan<'_> {
    /// Returns the span.
    pub(super) fn data(&self, scope: &InstrumentationScope) -> SpanData {
        let times = (self.began_micros, self.ended_micros);
        let name = format!("command {}", self.name);
        let mut data = span(self.ids, (self.ids.span, None, false), SpanKind::Server, name, times, scope);
        data.attributes = vec![
            KeyValue::new("signalbox.command", self.name),
            KeyValue::new("signalbox.interface", self.interface),
            KeyValue::new("signalbox.outcome", self.outcome.to_owned()),
            KeyValue::new("signalbox.revision", size(self.revision)),
        ];
        data.attributes.extend(self.address.map(|address| KeyValue::new("client.address", address.to_string())));
        if FAULTS.contains(&self.outcome) {
            data.attributes.push(KeyValue::new("error.type", self.outcome.to_owned()));
            data.status = Status::error(self.outcome.to_owned());
        }
        data
    }
}

impl ServerSpan<'_> {
    /// Returns the spans of the request and of its attempts.
    pub(super) fn data(&self, scope: &InstrumentationScope) -> Vec<SpanData> {
        let attempts = self.attempts.iter().enumerate().map(|(number, attempt)| self.attempt(number, attempt, scope));
        std::iter::once(self.server(scope)).chain(attempts).collect()
    }

    fn server(&self, scope: &InstrumentationScope) -> SpanData {
        let request = self.request;
        let method = method(&request.method);
        let mut fields = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("url.scheme", request.scheme),
            text("url.path", &request.path),
            text("server.address", &request.host),
            KeyValue::new("network.protocol.name", "http"),
            KeyValue::new("network.protocol.version", request.protocol.trim_start_matches("HTTP/")),
            KeyValue::new("client.address", request.client.to_string()),
            KeyValue::new("http.response.status_code", i64::from(request.status)),
            KeyValue::new("http.request.body.size", size(request.bytes_received)),
            KeyValue::new("http.response.body.size", size(request.bytes_sent)),
            text("signalbox.request.id", &request.id),
        ];
        if method == "_OTHER" {
            fields.push(text("http.request.method_original", &request.method));
        }
        let owned = |value: &Option<Cow<'_, str>>| value.as_ref().map(|value| bounded(value));
        let optional = [
            ("url.query", owned(&request.query)),
            ("user_agent.original", owned(&request.user_agent)),
            ("http.route", self.route.map(str::to_owned)),
            ("signalbox.service", owned(&request.service_name)),
            ("signalbox.instance", owned(&request.instance_name)),
            ("signalbox.route", request.route_id.map(|route| route.to_string())),
        ];
        fields.extend(optional.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value?))));
        fields.extend(self.call());
        let is_error = request.status >= 500 || request.reason == Some("response_broken_off");
        if is_error {
            let kind = request.reason.map_or_else(|| request.status.to_string(), str::to_owned);
            fields.push(KeyValue::new("error.type", kind));
        }
        let name = self.route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        let detail = request.detail.as_ref().map(|detail| detail.clone().into_owned()).unwrap_or_default();
        let (parent, times) = (self.ids.parent, (self.began_micros, self.ended_micros));
        let own = (self.ids.span, parent, parent.is_some());
        let mut data = span(self.ids, own, SpanKind::Server, name, times, scope);
        data.attributes = fields;
        data.status = if is_error { Status::error(detail) } else { Status::Unset };
        data
    }

    /// Returns the attributes of a gRPC call, whose path is `/SERVICE/METHOD`.
    fn call(&self) -> Vec<KeyValue> {
        let named = || self.request.path.strip_prefix('/')?.split_once('/');
        let Some((service, method)) = self.is_call.then(named).flatten() else { return Vec::new() };
        vec![KeyValue::new("rpc.system", "grpc"), text("rpc.service", service), text("rpc.method", method)]
    }

    fn attempt(&self, number: usize, attempt: &ClientSpan<'_>, scope: &InstrumentationScope) -> SpanData {
        let method = method(&self.request.method);
        let authority = attempt.backend.authority();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, None),
        };
        let mut fields = vec![
            KeyValue::new("http.request.method", method),
            KeyValue::new("server.address", host.trim_matches(['[', ']']).to_owned()),
            KeyValue::new("url.full", format!("{}{}", attempt.backend, bounded(&self.request.path))),
        ];
        fields.extend(port.map(|port: i64| KeyValue::new("server.port", port)));
        fields.extend(attempt.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
        if number > 0 {
            fields.push(KeyValue::new("http.request.resend_count", i64::try_from(number).unwrap_or(i64::MAX)));
        }
        let failed = attempt.status.filter(|status| *status >= 400).map(|status| status.to_string());
        let failed = attempt.error.map(str::to_owned).or(failed);
        fields.extend(failed.clone().map(|kind| KeyValue::new("error.type", kind)));
        let times = (attempt.began_micros, attempt.ended_micros);
        let own = (attempt.span, Some(self.ids.span), false);
        let mut data = span(self.ids, own, SpanKind::Client, method.to_owned(), times, scope);
        data.attributes = fields;
        data.status = failed.map_or(Status::Unset, Status::error);
        data
    }
}

/// Returns a span without attributes. `own` has its id, that of the span above it, and true if that is a peer's.
fn span(
    SpanIds { trace, .. }: SpanIds,
    own: (u64, Option<u64>, bool),
    span_kind: SpanKind,
    name: String,
    (began, ended): (u64, u64),
    scope: &InstrumentationScope,
) -> SpanData {
    let (trace, (id, parent, parent_span_is_remote)) = (TraceId::from(trace), own);
    SpanData {
        span_context: SpanContext::new(trace, SpanId::from(id), TraceFlags::SAMPLED, false, TraceState::default()),
        parent_span_id: parent.map_or(SpanId::INVALID, SpanId::from),
        parent_span_is_remote,
        span_kind,
        name: name.into(),
        start_time: moment(began),
        end_time: moment(ended.max(began)),
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: <_>::default(),
        links: <_>::default(),
        status: Status::Unset,
        instrumentation_scope: scope.clone(),
    }
}

fn method(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or("_OTHER")
}

fn text(key: &'static str, value: &str) -> KeyValue {
    KeyValue::new(key, Value::from(bounded(value)))
}

fn bounded(text: &str) -> String {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or_default().to_owned()
}

fn size(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn moment(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros)
}
