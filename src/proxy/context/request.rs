//! A request at the endpoint that it was sent to: all that must be done once at its end.
//!
//! [`RequestContext::finish`] is the one end: it gives the breaker its verdict, gives the connection back, tells the client's
//! connection and records the statistics. Code that knows the outcome calls it; hyper may also drop a body, or the
//! future of a request, and then the context finishes itself. Invariants: each context finishes exactly once.

use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};

use crate::connect::BackendStream;
use crate::http1::UpgradedStream;
use crate::proxy::body_error::BodyError;
use crate::proxy::context::breaker_guard::BreakerGuard;
use crate::proxy::context::judged_response::JudgedResponse;
use crate::proxy::context::stats::RequestStats;
use crate::proxy::context::trace::RequestTrace;
use crate::proxy::refusal::Refusal;
use crate::proxy::upstream::request_body::{RequestBody, UploadProgress};
use crate::proxy::upstream::upstream_conn::UpstreamConn;
use crate::traffic::{BreakerOutcome, Endpoint, MethodLabel, grpc_status};

/// A request at the endpoint that it was sent to.
pub(crate) struct RequestContext {
    trace: Rc<RequestTrace>,
    request_body: RequestBody,
    breaker: BreakerGuard,
    // `None` once the request has finished.
    stats: Option<RequestStats>,
    // The connection while it carries the request.
    upstream: Option<UpstreamConn>,
    // The status of a gRPC call as far as it is known; none is awaited any more once the call is judged.
    call: CallStatus,
    // True once the response goes to the client.
    answers: bool,
}

/// The status of a gRPC call, as far as the head of its response says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallStatus {
    /// The response is not that of a call.
    NoCall,
    /// The status comes in the trailers. If they say nothing, it is that of the head, if there is one.
    Awaited(Option<u8>),
    /// The response is nothing but this status.
    Known(u8),
}

impl CallStatus {
    fn is_awaited(self) -> bool {
        matches!(self, Self::Awaited(_))
    }

    /// Ends the waiting for the trailers. Returns the status of the head, if there was one.
    fn take_awaited(&mut self) -> Option<u8> {
        match std::mem::replace(self, Self::NoCall) {
            Self::Awaited(in_head) => in_head,
            Self::NoCall | Self::Known(_) => None,
        }
    }
}

/// The way in which a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    /// The client's connection is done with the response.
    Responded {
        /// True if the whole response was read from the backend.
        is_whole: bool,
    },
    /// The tunnel that the request opened is closed.
    TunnelClosed,
    /// The proxy answers in place of the backend.
    Refused(Refusal),
    /// The attempt says nothing of the endpoint and is not counted: another attempt follows a connection that had died,
    /// or this server had no room for a connection.
    NotCounted,
    /// The client went away, or the worker ended.
    Dropped,
}

impl RequestOutcome {
    /// True if the backend has failed the request, and neither the client nor this server.
    pub(crate) fn is_failure_of_backend(self) -> bool {
        verdict(self) == BreakerOutcome::Failure
    }
}

impl RequestContext {
    /// Begins an attempt at an endpoint. The context is boxed because it moves with the response, a dozen times on the way to the client's
    /// connection.
    pub(crate) fn new(
        trace: &Rc<RequestTrace>,
        endpoint: &Arc<Endpoint>,
        breaker: BreakerGuard,
        request_body: RequestBody,
    ) -> Box<Self> {
        let in_flight = endpoint.begin_request(trace.worker.id);
        trace.tries(endpoint, &in_flight);
        let stats = RequestStats::new(in_flight, MethodLabel::of(&trace.method), trace.began);
        let (trace, stats, upstream) = (Rc::clone(trace), Some(stats), None);
        Box::new(Self { trace, request_body, breaker, stats, upstream, call: CallStatus::NoCall, answers: false })
    }

    /// Takes the connection that brought the head of a response with this status. The status of a gRPC call counts in its place.
    pub(crate) fn responded(&mut self, status: StatusCode, call: CallStatus, upstream: UpstreamConn) {
        self.upstream = Some(upstream);
        self.call = call;
        let response =
            if let CallStatus::Known(code) = call { JudgedResponse::Call(code) } else { JudgedResponse::Http(status) };
        if !self.call.is_awaited() {
            self.judge(response);
        }
        if let Some(stats) = &mut self.stats {
            stats.answered(response.status());
            self.trace.responded(status, stats.latency());
        }
        if let CallStatus::Known(code) = call {
            self.trace.call_ended(code);
        }
    }

    fn judge(&mut self, response: JudgedResponse) {
        self.breaker.judge(response, &self.trace.worker.reports);
    }

    /// Judges a gRPC call by the status in its trailers. A stream may last for ever, so that its first message ends a trial.
    fn look_for_status(&mut self, frame: Option<&Result<Frame<Bytes>, BodyError>>) {
        let code = match frame {
            Some(Ok(frame)) if frame.is_data() => {
                if self.breaker.is_trial() {
                    self.judge(JudgedResponse::Http(StatusCode::OK));
                }
                return;
            }
            Some(Ok(frame)) => frame.trailers_ref().and_then(grpc_status),
            Some(Err(_)) | None => None,
        };
        let in_head = self.call.take_awaited();
        let response = match (code, frame) {
            (Some(code), _) => JudgedResponse::Call(code),
            (None, Some(Err(error))) if error.is_of_request() => JudgedResponse::RequestBrokenOff,
            (None, Some(Err(_))) => JudgedResponse::CallBrokenOff,
            (None, Some(Ok(_)) | None) => in_head.map_or(JudgedResponse::CallWithoutStatus, JudgedResponse::Call),
        };
        if let Some(code) = response.call_status() {
            self.trace.call_ended(code);
        }
        self.judge(response);
        self.stats.iter_mut().for_each(|stats| stats.ended_with(response.status()));
    }

    /// Hands the connection over to the tunnel that the request opens.
    pub(crate) fn open_tunnel(&mut self) -> Option<UpgradedStream<BackendStream>> {
        self.upstream.take().and_then(UpstreamConn::into_tunnel)
    }

    /// Notes that the response goes to the client.
    pub(crate) fn begin_response(&mut self) {
        self.answers = true;
    }

    /// Ends the request. Only the first call counts.
    pub(crate) fn finish(&mut self, outcome: RequestOutcome) {
        let is_whole = outcome == RequestOutcome::Responded { is_whole: true };
        if self.call.is_awaited() && is_whole && self.stats.is_some() {
            // It ended with its last data, behind which nobody looks.
            self.look_for_status(None);
        }
        let Some(mut stats) = self.stats.take() else { return };
        self.breaker.record(verdict(outcome), &self.trace.worker.reports);
        match outcome {
            RequestOutcome::Responded { is_whole } => {
                if is_whole {
                    self.return_upstream();
                }
                if self.request_body.abandon() {
                    self.trace.client.state.linger();
                }
                self.trace.client.state.answered();
            }
            RequestOutcome::Refused(refusal) => {
                stats.answered(refusal.status());
                self.trace.attempt_ended(refusal.proxy_error());
            }
            RequestOutcome::NotCounted => return,
            RequestOutcome::TunnelClosed | RequestOutcome::Dropped => {}
        }
        let received = self.request_body.sending().map_or(0, |sending| sending.bytes());
        stats.count_bytes(received, 0);
        let record = stats.record();
        self.trace.count_bytes(record.bytes_received, record.bytes_sent);
    }

    /// Gives the connection back, once both messages on it have ended. It is closed if the request was not sent to its end.
    fn return_upstream(&mut self) {
        let Some(upstream) = self.upstream.take() else { return };
        if self.request_body.sending().is_none_or(|sending| sending.state() == UploadProgress::Ended) {
            self.trace.worker.upstreams.put_back(upstream, &self.trace.client.logins);
        }
    }

    /// Returns the next frame of the response body. At its end the connection goes back at once.
    pub(crate) fn poll_response(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(upstream) = &mut self.upstream else { return Poll::Ready(None) };
        let polled = upstream.poll_frame(cx);
        if self.call.is_awaited()
            && let Poll::Ready(frame) = &polled
        {
            self.look_for_status(frame.as_ref());
        }
        if let Poll::Ready(None) = polled {
            self.return_upstream();
        }
        polled
    }

    /// True if the response of the backend has ended.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.upstream.as_ref().is_none_or(UpstreamConn::is_end_stream)
    }

    /// Returns the number of bytes of the response that are at hand, as far as it is known.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.upstream.as_ref().map_or(0, UpstreamConn::ready_bytes)
    }

    /// Returns the bytes of the response that are still to come, as far as they are known.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.upstream.as_ref().map_or_else(SizeHint::default, UpstreamConn::size_hint)
    }

    /// Notes that the response ends here although the backend goes on. The connection of the client ends with it.
    pub(crate) fn ends_early(&self) {
        self.trace.client.state.finish();
    }

    /// Notes that the backend broke the response off.
    pub(crate) fn broke_off(&mut self) {
        self.trace.broke_off(self.stats.as_ref().map(RequestStats::asked));
        self.stats.iter_mut().for_each(RequestStats::broke_off);
        self.trace.client.state.break_off();
    }

    /// Counts bytes that were taken from the client and sent to it.
    pub(crate) fn count_bytes(&mut self, received: u64, sent: u64) {
        self.stats.iter_mut().for_each(|stats| stats.count_bytes(received, sent));
    }
}

/// Returns the verdict for the breaker if the request ends before the head of a response.
fn verdict(outcome: RequestOutcome) -> BreakerOutcome {
    match outcome {
        RequestOutcome::Refused(Refusal::BadGateway | Refusal::GatewayTooSlow) => BreakerOutcome::Failure,
        // The faults of the client, and of this server, say nothing of the endpoint.
        RequestOutcome::Refused(_)
        | RequestOutcome::Responded { .. }
        | RequestOutcome::TunnelClosed
        | RequestOutcome::NotCounted
        | RequestOutcome::Dropped => BreakerOutcome::Abandoned,
    }
}

impl Drop for RequestContext {
    /// Finishes a request whose body or future hyper has dropped.
    fn drop(&mut self) {
        self.finish(if self.answers {
            RequestOutcome::Responded { is_whole: self.is_end_stream() }
        } else {
            RequestOutcome::Dropped
        });
    }
}
