//! The span of a request: what its backend is told of it, and what the collector gets at its end.
//!
//! Nothing here costs anything for a request without a span.

use http::header::HeaderMap;

use super::{RequestTrace, TraceProgress};
use crate::clock;
use crate::json::requests::RequestView;
use crate::otlp::{ServerSpan, SpanIds};
use crate::proxy::context::trace_context;
use crate::proxy::context::trace_details::ForwardedOrigin;
use crate::traffic::TraceParent;

impl RequestTrace {
    /// Names the span of the next attempt in the fields of the request, if it has one.
    pub(crate) fn set_parent(&self, fields: &mut HeaderMap) {
        let Some(SpanIds { trace, parent, .. }) = self.span() else {
            if self.lowers_parent {
                trace_context::name_unsampled(fields);
            }
            return;
        };
        let span = self.worker.random.next();
        let mut progress = self.progress.borrow_mut();
        let details = progress.details_mut();
        details.next_span = span;
        let own = TraceParent { trace, span, is_sampled: true, is_random: details.is_random };
        trace_context::name_span(fields, own, parent.is_none());
    }

    /// Notes that the last attempt ended with an error of this type, unless more is known of it.
    pub(crate) fn attempt_ended(&self, error: &'static str) {
        self.progress.borrow_mut().details.iter_mut().for_each(|details| details.attempt_ended(error));
    }

    /// Tells the collector of the request, if it has a span.
    pub(super) fn tell_span(&self, request: &RequestView<'_>, progress: &TraceProgress) {
        let (Some(ids), Some(spans)) = (self.span(), &self.worker.settings.spans) else { return };
        let end = clock::instant();
        let details = progress.details.as_deref();
        let attempts = details.map_or(&[][..], |details| &details.attempt_spans);
        let origin = details.and_then(|details| details.forwarded.as_ref());
        spans.tell(&ServerSpan {
            ids,
            began_micros: clock::micros_at(self.began),
            ended_micros: clock::micros_at(end),
            request,
            route: progress.endpoint.as_ref().map(|endpoint| endpoint.route.path.as_str()),
            status: progress.status.map(|status| status.as_u16()),
            scheme: if origin.is_some_and(|origin| origin.is_secure) { "https" } else { request.scheme },
            host: origin.and_then(ForwardedOrigin::host).unwrap_or_else(|| request.host.clone()),
            state: details.and_then(|details| details.state.as_deref()),
            is_call: progress.is_call,
            call_status: progress.call_status,
            attempts: attempts.iter().map(|attempt| attempt.client_span(request, end)).collect(),
        });
    }
}
