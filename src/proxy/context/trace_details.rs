//! The rare parts of a request's trace: its failed attempts, the reason of its failure, its spans.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode};

use crate::clock;
use crate::domain::{RequestPath, Route};
use crate::json::requests::{AttemptView, RequestView};
use crate::otlp::{ClientSpan, SpanIds};
use crate::proxy::refusal::AttemptCause;
use crate::request_log::millis;
use crate::traffic::{Endpoint, Peer, RouteOwner, TraceParent, forwarded_host, is_secure, trace_state};

/// The most attempts that are told.
const TRIED_MAX: usize = 16;

/// Fields that only the log tells.
pub(super) struct TracedExtras {
    /// The ids of its span, if it is sampled.
    pub(super) span: Option<SpanIds>,
    pub(super) trace_id: Option<u128>,
    pub(super) user_agent: Option<HeaderValue>,
    pub(super) referer: Option<HeaderValue>,
}

/// The rare parts of a trace.
#[derive(Default)]
pub(super) struct TraceDetails {
    pub(super) tried: Vec<TriedEndpoint>,
    pub(super) problem: Option<TracedProblem>,
    /// True if the connection was closed without an answer.
    pub(super) is_closed: bool,
    // Only for a request with a span: what its peer says of the trace and of the client, the id of the next attempt's span, and the
    // attempts so far.
    pub(super) is_random: bool,
    pub(super) state: Option<String>,
    pub(super) forwarded: Option<ForwardedOrigin>,
    pub(super) next_span: u64,
    pub(super) attempt_spans: Vec<AttemptSpan>,
}

/// The place that a client asked a trusted proxy for.
pub(super) struct ForwardedOrigin {
    pub(super) is_secure: bool,
    pub(super) host: Option<HeaderValue>,
}

impl ForwardedOrigin {
    /// Returns the host, if the proxy names it. Of a list the first one is the client's.
    pub(super) fn host(&self) -> Option<Cow<'_, str>> {
        let hosts = text_of(self.host.as_ref()?);
        Some(hosts.split(',').next().unwrap_or_default().trim().to_owned().into())
    }
}

/// An attempt of a request with a span.
pub(super) struct AttemptSpan {
    pub(super) span: u64,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) began: Instant,
    pub(super) ended: Option<Instant>,
    pub(super) status: Option<StatusCode>,
    pub(super) call_status: Option<u8>,
    pub(super) error: Option<&'static str>,
}

/// An attempt that failed.
pub(super) struct TriedEndpoint {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) began: Instant,
    pub(super) ended: Instant,
    pub(super) cause: AttemptCause,
}

/// The reason for which a request failed.
pub(super) struct TracedProblem {
    pub(super) reason: &'static str,
    pub(super) detail: Cow<'static, str>,
    /// True if it is kept for operators.
    pub(super) is_kept: bool,
}

impl TraceDetails {
    /// Begins the details of a request with a span, below that of `parent`.
    pub(super) fn of_sampled(fields: &HeaderMap, peer: &Peer, parent: Option<TraceParent>) -> Self {
        let forwarded =
            || ForwardedOrigin { is_secure: is_secure(fields, peer), host: forwarded_host(fields, peer).cloned() };
        Self {
            is_random: parent.is_some_and(|parent| parent.is_random),
            state: parent.and_then(|_| trace_state(fields)),
            forwarded: peer.trusted.then(forwarded),
            ..Self::default()
        }
    }

    /// Begins the span of an attempt.
    pub(super) fn begin_span(&mut self, endpoint: &Arc<Endpoint>, began: Instant) {
        if self.attempt_spans.len() <= TRIED_MAX {
            let (span, endpoint) = (self.next_span, Arc::clone(endpoint));
            let (ended, status, call_status, error) = (None, None, None, None);
            self.attempt_spans.push(AttemptSpan { span, endpoint, began, ended, status, call_status, error });
        }
    }

    /// Ends the span of the last attempt with an error, if it has none yet.
    pub(super) fn attempt_ended(&mut self, error: &'static str) {
        if let Some(attempt) = self.attempt_spans.last_mut() {
            attempt.error.get_or_insert(error);
            attempt.ended.get_or_insert_with(clock::instant);
        }
    }

    /// Notes an attempt that failed, with the times of its begin and its end.
    pub(super) fn attempt_failed(
        &mut self,
        endpoint: &Arc<Endpoint>,
        (began, ended): (Instant, Instant),
        cause: &AttemptCause,
    ) {
        if let Some(attempt) = self.attempt_spans.last_mut() {
            (attempt.ended, attempt.error) = (Some(ended), Some(cause.error));
        }
        if self.tried.len() < TRIED_MAX {
            self.tried.push(TriedEndpoint { endpoint: Arc::clone(endpoint), began, ended, cause: cause.clone() });
        }
    }

    /// Returns the failed attempts, and the one to which a backend responded, `upstream` after the request began.
    pub(super) fn tried<'a>(
        &'a self,
        began: Instant,
        asked: Option<(&'a Route, Option<&'a RouteOwner>)>,
        upstream: Option<Duration>,
    ) -> Vec<AttemptView<'a>> {
        let failed = self.tried.iter().map(|attempt| {
            let took = attempt.ended.saturating_duration_since(attempt.began);
            attempt_view(
                &attempt.endpoint.route,
                attempt.endpoint.owner(),
                took,
                Some(Cow::Borrowed(&*attempt.cause.words)),
            )
        });
        let is_told = !self.tried.is_empty() || self.problem.is_some();
        // The last attempt begins where the one before it ended.
        let before = self.tried.last().map_or(Duration::ZERO, |attempt| attempt.ended.saturating_duration_since(began));
        let last = asked.zip(upstream).filter(|_| is_told);
        let last =
            last.map(|((route, owner), upstream)| attempt_view(route, owner, upstream.saturating_sub(before), None));
        failed.chain(last).collect()
    }
}

fn attempt_view<'a>(
    route: &'a Route,
    owner: Option<&'a RouteOwner>,
    took: Duration,
    error: Option<Cow<'a, str>>,
) -> AttemptView<'a> {
    AttemptView {
        backend: route.backend.to_string().into(),
        instance_name: owner.map_or("", |owner| owner.instance.as_str()).into(),
        route_id: route.id,
        duration_ms: millis(took),
        error,
    }
}

impl AttemptSpan {
    /// Returns the span of the attempt at a request, which ended at `end` if nothing ended the attempt before.
    pub(super) fn client_span(&self, request: &RequestView<'_>, end: Instant) -> ClientSpan<'_> {
        let asked = asked_target(request);
        ClientSpan {
            span: self.span,
            began_micros: clock::micros_at(self.began),
            ended_micros: clock::micros_at(self.ended.unwrap_or(end)),
            backend: self.endpoint.backend(),
            target: self.endpoint.rewrite(&asked).unwrap_or(asked),
            status: self.status.map(|status| status.as_u16()),
            call_status: self.call_status,
            error: self.error,
        }
    }
}

/// Returns the target that backends without a base path get: without dot segments, and here without secrets.
fn asked_target(request: &RequestView<'_>) -> String {
    let passed = RequestPath::read(&request.path).ok().and_then(|read| read.passed);
    let path = passed.as_deref().unwrap_or(&request.path);
    request.query.as_ref().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

/// Returns words for the failure of a backend.
pub(super) fn of_backend(attempt: &TriedEndpoint) -> String {
    let TriedEndpoint { endpoint, cause, .. } = attempt;
    let owner = endpoint.owner().map(|owner| format!(" ({}/{})", owner.service, owner.instance)).unwrap_or_default();
    format!("{}{owner}: {}", endpoint.backend(), cause.words)
}

/// Returns an authority without the name and the password of a user, which are for nobody else.
pub(super) fn without_user(authority: &str) -> &str {
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// Returns the value of a field as text. Bytes that are no text are replaced.
pub(super) fn text_of(value: &HeaderValue) -> Cow<'_, str> {
    // Nearly all is ASCII, and to look for bytes to replace takes longer.
    value.to_str().map_or_else(|_| String::from_utf8_lossy(value.as_bytes()), Cow::Borrowed)
}
