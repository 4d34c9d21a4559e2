//! Spans of requests, with the names of the semantic conventions for HTTP and RPC (OpenTelemetry 1.3x).
//!
//! A request is one span of a server; each attempt at a backend is a span of a client below it. Invariants: text of a client is bounded, and the
//! name of a span comes from the configuration alone.

use std::borrow::Cow;
use std::net::IpAddr;
use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::SpanData;

use super::attributes::{bounded, size, text};
use super::rpc;
use crate::domain::{BackendUrl, Scheme};
use crate::json::requests::RequestView;

/// The type of the error if the client went away before the answer.
const CLIENT_GONE: &str = "client_gone";
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
    /// The status that was sent, if one was.
    pub status: Option<u16>,
    /// The scheme that the client speaks, with this server or with a trusted proxy.
    pub scheme: &'static str,
    /// The host and the port that the client asked for; empty if it named none.
    pub host: Cow<'a, str>,
    /// The `tracestate` of a trace that goes on here.
    pub state: Option<&'a str>,
    /// True for a gRPC call.
    pub is_call: bool,
    /// The status of the call, if it has one.
    pub call_status: Option<u8>,
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
    /// The path and the query that it was asked for; the values of secret parameters are replaced.
    pub target: String,
    /// The status of the response, if there was one.
    pub status: Option<u16>,
    /// The status of a gRPC call, if one came.
    pub call_status: Option<u8>,
    /// The type of the failure (RFC 9209 §2.3), if there was no response or not all of it.
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
        // Of an invalid state nothing can be told.
        let state = self.state.and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default();
        let attempts = self.attempts.iter().enumerate().map(|(number, attempt)| self.attempt(number, attempt, scope));
        let mut spans: Vec<SpanData> = std::iter::once(self.server(scope)).chain(attempts).collect();
        for span in &mut spans {
            let own = &span.span_context;
            let (trace, id, flags) = (own.trace_id(), own.span_id(), own.trace_flags());
            span.span_context = SpanContext::new(trace, id, flags, false, state.clone());
        }
        spans
    }

    fn server(&self, scope: &InstrumentationScope) -> SpanData {
        let request = self.request;
        let mut fields = self.method();
        fields.extend([
            KeyValue::new("url.scheme", self.scheme),
            text("url.path", &request.path),
            KeyValue::new("network.protocol.name", "http"),
            KeyValue::new("network.protocol.version", request.protocol.trim_start_matches("HTTP/")),
            KeyValue::new("client.address", request.client.to_string()),
            KeyValue::new("http.request.body.size", size(request.bytes_received)),
            KeyValue::new("http.response.body.size", size(request.bytes_sent)),
            text("signalbox.request.id", &request.id),
        ]);
        fields.extend(self.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
        fields.extend(address(&self.host, self.scheme));
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
        if self.is_call {
            fields.extend(rpc::attributes(&request.path, self.call_status));
        }
        let error = self.error();
        fields.extend(error.clone().map(|kind| KeyValue::new("error.type", kind)));
        let method = name_of(&request.method);
        let name = self.route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        let detail = request.detail.as_ref().map(|detail| detail.clone().into_owned()).unwrap_or_default();
        let (parent, times) = (self.ids.parent, (self.began_micros, self.ended_micros));
        let own = (self.ids.span, parent, parent.is_some());
        let mut data = span(self.ids, own, SpanKind::Server, name, times, scope);
        data.attributes = fields;
        data.status = if error.is_some() { Status::error(detail) } else { Status::Unset };
        data
    }

    /// Returns the type of the error, if the request failed: the client got no answer or not all of it, or one that says so.
    fn error(&self) -> Option<String> {
        let reason = self.request.reason;
        let of_call = self.call_status.and_then(rpc::server_error);
        let is_error = self.status.is_none_or(|status| status >= 500)
            || reason == Some("response_broken_off")
            || of_call.is_some();
        let of_status = || self.status.map_or_else(|| CLIENT_GONE.to_owned(), |status| status.to_string());
        is_error.then(|| reason.or(of_call).map_or_else(of_status, str::to_owned))
    }

    /// Returns the attributes of the method.
    fn method(&self) -> Vec<KeyValue> {
        let written = &self.request.method;
        match known(written) {
            Some(method) => vec![KeyValue::new("http.request.method", method)],
            None => vec![KeyValue::new("http.request.method", "_OTHER"), text("http.request.method_original", written)],
        }
    }

    fn attempt(&self, number: usize, attempt: &ClientSpan<'_>, scope: &InstrumentationScope) -> SpanData {
        let backend = attempt.backend;
        let mut fields = self.method();
        fields.extend([
            text("server.address", backend.host().trim_matches(['[', ']'])),
            KeyValue::new("server.port", i64::from(backend.port())),
            text("url.full", &url(backend, &attempt.target)),
        ]);
        fields.extend(attempt.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status))));
        if number > 0 {
            fields.push(KeyValue::new("http.request.resend_count", i64::try_from(number).unwrap_or(i64::MAX)));
        }
        let of_failure = || attempt.error.filter(|_| self.is_call).map(rpc::status_of_failure);
        let call_status = attempt.call_status.or_else(of_failure);
        if self.is_call {
            fields.extend(rpc::attributes(&self.request.path, call_status));
        }
        let of_status = || attempt.status.filter(|status| *status >= 400).map(|status| status.to_string());
        let error = attempt.error.or_else(|| call_status.and_then(rpc::client_error));
        let error = error.map(str::to_owned).or_else(of_status);
        fields.extend(error.clone().map(|kind| KeyValue::new("error.type", kind)));
        let times = (attempt.began_micros, attempt.ended_micros);
        let own = (attempt.span, Some(self.ids.span), false);
        let name = name_of(&self.request.method).to_owned();
        let mut data = span(self.ids, own, SpanKind::Client, name, times, scope);
        data.attributes = fields;
        data.status = error.map_or(Status::Unset, Status::error);
        data
    }
}

/// Returns the URL that a backend was asked for. The target `*` stands for the server as a whole (RFC 9112 §3.2.4).
fn url(backend: &BackendUrl, target: &str) -> String {
    let scheme = if backend.scheme() == Scheme::Https { "https" } else { "http" };
    let path = if target == "*" { "" } else { target };
    format!("{scheme}://{}{path}", backend.authority())
}

/// Returns the attributes of the address that a client asked for, if it named one. Without a port it is that of the scheme.
fn address(authority: &str, scheme: &str) -> Vec<KeyValue> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    if host.is_empty() {
        return Vec::new();
    }
    let port: u16 = port.unwrap_or(if scheme == "https" { 443 } else { 80 });
    vec![text("server.address", host.trim_matches(['[', ']'])), KeyValue::new("server.port", i64::from(port))]
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

/// Returns a method that a span names.
fn known(method: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|known| *known == method)
}

/// Returns the method in the name of a span.
fn name_of(method: &str) -> &'static str {
    known(method).unwrap_or("HTTP")
}

fn moment(micros: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(micros)
}
