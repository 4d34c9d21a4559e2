//! The rare parts of a request's trace: its failed attempts, the reason of its failure, its spans.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};

use crate::json::requests::AttemptView;
use crate::otlp::SpanIds;
use crate::proxy::refusal::AttemptCause;
use crate::traffic::{Endpoint, TraceParent};

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
    // Only for a request with a span: if the id of its trace is random, the id of the next attempt's span, and the attempts so far.
    pub(super) is_random: bool,
    pub(super) next_span: u64,
    pub(super) attempt_spans: Vec<AttemptSpan>,
}

/// An attempt of a request with a span.
pub(super) struct AttemptSpan {
    pub(super) span: u64,
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) began: Instant,
    pub(super) ended: Option<Instant>,
    pub(super) status: Option<StatusCode>,
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
    pub(super) fn of_sampled(parent: Option<TraceParent>) -> Self {
        Self { is_random: parent.is_some_and(|parent| parent.is_random), ..Self::default() }
    }

    /// Begins the span of an attempt.
    pub(super) fn begin_span(&mut self, endpoint: &Arc<Endpoint>, began: Instant) {
        if self.attempt_spans.len() <= TRIED_MAX {
            let (span, endpoint) = (self.next_span, Arc::clone(endpoint));
            self.attempt_spans.push(AttemptSpan { span, endpoint, began, ended: None, status: None, error: None });
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
        endpoint: Option<&'a Arc<Endpoint>>,
        upstream: Option<Duration>,
    ) -> Vec<AttemptView<'a>> {
        let failed = self.tried.iter().map(|attempt| {
            let took = attempt.ended.saturating_duration_since(attempt.began);
            attempt_view(&attempt.endpoint, took, Some(Cow::Borrowed(&*attempt.cause.words)))
        });
        let is_told = !self.tried.is_empty() || self.problem.is_some();
        // The last attempt begins where the one before it ended.
        let before = self.tried.last().map_or(Duration::ZERO, |attempt| attempt.ended.saturating_duration_since(began));
        let last = endpoint.zip(upstream).filter(|_| is_told);
        let last = last.map(|(endpoint, upstream)| attempt_view(endpoint, upstream.saturating_sub(before), None));
        failed.chain(last).collect()
    }
}

fn attempt_view<'a>(endpoint: &'a Endpoint, took: Duration, error: Option<Cow<'a, str>>) -> AttemptView<'a> {
    AttemptView {
        backend: endpoint.backend().to_string().into(),
        instance_name: endpoint.owner().map_or("", |owner| owner.instance.as_str()).into(),
        route_id: endpoint.id(),
        duration_ms: millis(took),
        error,
    }
}

/// Returns words for the failure of a backend.
pub(super) fn of_backend(attempt: &TriedEndpoint) -> String {
    let TriedEndpoint { endpoint, cause, .. } = attempt;
    let owner = endpoint.owner().map(|owner| format!(" ({}/{})", owner.service, owner.instance)).unwrap_or_default();
    format!("{}{owner}: {}", endpoint.backend(), cause.words)
}

/// Returns milliseconds with three decimals.
#[expect(clippy::cast_precision_loss, reason = "a duration for people's eyes")]
pub(super) fn millis(span: Duration) -> f64 {
    span.as_micros() as f64 / 1000.0
}

/// Returns the value of a field as text. Bytes that are no text are replaced.
pub(super) fn text_of(value: &HeaderValue) -> Cow<'_, str> {
    // Visible ASCII is the rule, and quick to see.
    value.to_str().map_or_else(|_| String::from_utf8_lossy(value.as_bytes()), Cow::Borrowed)
}
