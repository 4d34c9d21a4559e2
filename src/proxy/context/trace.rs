//! The trace of one request: gathered while it runs, told once at its end.
//!
//! The request, its attempts and the body of its response share it; it is told when the last of them has ended. Invariants: a request that did
//! not fail, and that nobody wants to know of, costs no further reading of the clock and no text.

mod span;

use std::borrow::Cow;
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, REFERER, USER_AGENT};
use http::{Method, StatusCode, Uri, Version};

use crate::clock;
use crate::domain::{Route, RouteId};
use crate::otlp::SpanIds;
use crate::proxy::context::client::ClientContext;
use crate::proxy::context::trace_context;
use crate::proxy::context::trace_details::{TraceDetails, TracedExtras, TracedProblem, of_backend, without_user};
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::refusal::{AttemptCause, Refusal};
use crate::request_log::{FinishedRequest, route_part};
use crate::traffic::{
    AskedRoute, Endpoint, InFlight, RequestId, RouteOwner, TRACEPARENT, client_address, trace_parent,
};

/// The status of a request whose client went away before the head of a response. It is never sent; nginx uses the same number.
pub(crate) const CLIENT_GONE_STATUS: u16 = 499;
/// The status of a request whose connection was closed without an answer. It is never sent; nginx uses the same number.
const CLOSED_STATUS: u16 = 444;

/// The name of the field of the parent. A static one, because a constant is made and dropped for each comparison.
static PARENT: HeaderName = TRACEPARENT;

/// The trace of one request.
pub(crate) struct RequestTrace {
    pub(crate) worker: Rc<WorkerContext>,
    pub(crate) client: Rc<ClientContext>,
    /// The time at which its head arrived.
    pub(crate) began: Instant,
    pub(crate) id: RequestId,
    /// The address of the client, as trusted proxies name it.
    pub(crate) address: IpAddr,
    pub(crate) method: Method,
    target: Uri,
    host: Option<HeaderValue>,
    protocol: &'static str,
    // True if the peer says that it records its span, and this server does not record the request.
    lowers_parent: bool,
    // `None` if nobody wants to know of requests that do not fail.
    extras: Option<TracedExtras>,
    progress: RefCell<TraceProgress>,
}

#[derive(Default)]
struct TraceProgress {
    status: Option<StatusCode>,
    received: u64,
    sent: u64,
    attempts: u32,
    // The route of the last attempt; what is known of it if somebody wants to know of every request, or if the response broke off; the endpoint
    // itself if there is a span, or if the request was refused.
    route: Option<RouteId>,
    asked: Option<AskedRoute>,
    endpoint: Option<Arc<Endpoint>>,
    upstream: Option<Duration>,
    revision: u64,
    is_call: bool,
    call_status: Option<u8>,
    // Boxed because it is rare.
    details: Option<Box<TraceDetails>>,
}

/// The fields of a request that are told of it.
#[derive(Default)]
struct ToldFields<'a> {
    user_agent: Option<&'a HeaderValue>,
    referer: Option<&'a HeaderValue>,
    has_parent: bool,
}

impl<'a> ToldFields<'a> {
    /// Finds them in one pass: most requests have few fields, and each look by name costs as much as to pass some.
    fn find(fields: &'a HeaderMap) -> Self {
        let mut told = Self::default();
        for (name, value) in fields {
            // Of several lines the first one is told.
            if *name == USER_AGENT {
                told.user_agent.get_or_insert(value);
            } else if *name == REFERER {
                told.referer.get_or_insert(value);
            } else if *name == PARENT {
                told.has_parent = true;
            }
        }
        told
    }
}

/// Returns the names of the service and the instance.
fn names(owner: &RouteOwner) -> (&str, &str) {
    (owner.service.as_str(), owner.instance.as_str())
}

impl TraceProgress {
    /// Returns the route of the last attempt and the instance that it is of, as far as they are known.
    fn asked(&self) -> Option<(&Route, Option<&RouteOwner>)> {
        let of_endpoint = self.endpoint.as_ref().map(|endpoint| (&*endpoint.route, endpoint.owner()));
        of_endpoint.or_else(|| self.asked.as_ref().and_then(AskedRoute::get))
    }

    /// Returns the part of a line of the access log that tells of the route, if its worker keeps it.
    fn route_part(&self) -> Option<&[u8]> {
        // A refusal may be of another endpoint than the last attempt.
        let asked = self.asked.as_ref().filter(|_| self.endpoint.is_none())?;
        asked.words(|route, owner| route_part(owner.map(names), route.id))
    }

    fn details_mut(&mut self) -> &mut TraceDetails {
        self.details.get_or_insert_default()
    }
}

impl RequestTrace {
    /// Begins the trace of a request with this head.
    pub(crate) fn new(
        worker: &Rc<WorkerContext>,
        client: &Rc<ClientContext>,
        (method, target, version, fields): (&Method, &Uri, Version, &HeaderMap),
        is_http3: bool,
    ) -> Rc<Self> {
        let protocol = match version {
            _ if is_http3 => "HTTP/3",
            _ if client.carrier.is_some() => "HTTP/2",
            Version::HTTP_10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        };
        let made = || u128::from(worker.random.next()) << 64 | u128::from(worker.random.next());
        let id = RequestId::of(fields, &client.peer, made);
        let (spans, is_watched) = (&worker.settings.spans, worker.requests.is_watched());
        let told = if spans.is_some() || is_watched { ToldFields::find(fields) } else { ToldFields::default() };
        let parent = if told.has_parent { trace_parent(fields) } else { None };
        let is_trusted = client.peer.trusted;
        let span = spans
            .as_ref()
            .and_then(|spans| trace_context::sampled_span(spans, parent, is_trusted, || worker.random.next()));
        let lowers_parent = spans.is_some() && span.is_none() && parent.is_some_and(|parent| parent.is_sampled);
        let extras = (span.is_some() || is_watched).then(|| TracedExtras {
            span,
            trace_id: parent.map(|parent| parent.trace),
            user_agent: told.user_agent.cloned(),
            referer: told.referer.cloned(),
        });
        let details = span.map(|_| Box::new(TraceDetails::of_sampled(fields, &client.peer, parent)));
        Rc::new(Self {
            worker: Rc::clone(worker),
            client: Rc::clone(client),
            began: clock::instant(),
            id,
            address: client_address(fields, &client.peer, &worker.reloadable.get().trusted_proxies),
            method: method.clone(),
            target: target.clone(),
            host: fields.get(HOST).cloned(),
            protocol,
            lowers_parent,
            extras,
            progress: RefCell::new(TraceProgress { details, ..TraceProgress::default() }),
        })
    }

    /// Returns the ids of its span, if it is sampled.
    fn span(&self) -> Option<SpanIds> {
        self.extras.as_ref()?.span
    }

    /// Notes the revision of the configuration that decides on the request.
    pub(crate) fn looked_up(&self, revision: u64) {
        self.progress.borrow_mut().revision = revision;
    }

    /// Notes that the request is a gRPC call.
    pub(crate) fn is_call(&self) {
        self.progress.borrow_mut().is_call = true;
    }

    /// Notes an attempt at an endpoint.
    pub(crate) fn tries(&self, endpoint: &Arc<Endpoint>, in_flight: &InFlight) {
        let mut progress = self.progress.borrow_mut();
        progress.attempts += 1;
        progress.route = Some(endpoint.id());
        progress.asked = self.extras.is_some().then(|| in_flight.asked());
        // Workers share the count of references to an endpoint, so it is not touched for nothing.
        progress.endpoint = None;
        if self.span().is_some() {
            progress.endpoint = Some(Arc::clone(endpoint));
            progress.details_mut().begin_span(endpoint, clock::instant());
        }
    }

    /// Notes that the attempt that began at `began` has failed. Only a failure `of_backend` is told of the backend itself.
    pub(crate) fn attempt_failed(
        &self,
        endpoint: &Arc<Endpoint>,
        began: Instant,
        cause: &AttemptCause,
        of_backend: bool,
    ) {
        let now = clock::instant();
        if of_backend {
            endpoint.live.failures.note(clock::at(now), &cause.words);
        }
        self.progress.borrow_mut().details_mut().attempt_failed(endpoint, (began, now), cause);
    }

    /// Notes that the backend has responded with this status, `upstream` after the request began.
    pub(crate) fn responded(&self, status: StatusCode, upstream: Duration) {
        let mut progress = self.progress.borrow_mut();
        progress.upstream = Some(upstream);
        if let Some(attempt) = progress.details.as_mut().and_then(|details| details.attempt_spans.last_mut()) {
            attempt.status = Some(status);
        }
    }

    /// Notes the status that the backend gave a gRPC call.
    pub(crate) fn call_ended(&self, status: u8) {
        let mut progress = self.progress.borrow_mut();
        progress.call_status = Some(status);
        if let Some(attempt) = progress.details.as_mut().and_then(|details| details.attempt_spans.last_mut()) {
            attempt.call_status = Some(status);
        }
    }

    /// Notes the status of a gRPC call that the proxy answers itself.
    pub(crate) fn call_refused(&self, status: u8) {
        self.progress.borrow_mut().call_status = Some(status);
    }

    /// Notes an answer of the proxy that is not a refusal, with so many bytes.
    pub(crate) fn answered_itself(&self, status: StatusCode, bytes: u64) {
        let mut progress = self.progress.borrow_mut();
        progress.status = Some(status);
        progress.sent = self.sent_of(bytes);
    }

    /// Returns the bytes of a body that are sent: none of them to a HEAD request.
    fn sent_of(&self, bytes: u64) -> u64 {
        if self.method == Method::HEAD { 0 } else { bytes }
    }

    /// Notes the status of the answer.
    pub(crate) fn answered(&self, status: StatusCode) {
        self.progress.borrow_mut().status = Some(status);
    }

    /// Notes that the proxy answers itself, with so many bytes, and for the route of `endpoint`. Returns the type of the error (RFC 9209) and
    /// the details for operators.
    pub(crate) fn refused(
        &self,
        refusal: Refusal,
        endpoint: Option<&Arc<Endpoint>>,
        bytes: u64,
    ) -> (&'static str, Cow<'static, str>) {
        self.worker.counters.count_refusal(refusal, endpoint);
        let mut progress = self.progress.borrow_mut();
        let tried = progress.details_mut().tried.last().map(|attempt| Arc::clone(&attempt.endpoint));
        if let Some(endpoint) = tried.or_else(|| endpoint.cloned()) {
            progress.route = Some(endpoint.id());
            progress.endpoint = Some(endpoint);
        }
        progress.status = Some(refusal.status());
        progress.sent = self.sent_of(bytes);
        let is_of_backend = matches!(refusal, Refusal::BadGateway | Refusal::GatewayTooSlow);
        let last = progress.details.as_ref().and_then(|details| details.tried.last());
        let (error, detail) = match last.filter(|_| is_of_backend) {
            Some(last) => (last.cause.error, of_backend(last).into()),
            None => (refusal.proxy_error(), refusal.sentence()),
        };
        let is_kept = refusal != Refusal::Redirected;
        if is_of_backend {
            self.warn(&progress, refusal, &detail);
        }
        progress.details_mut().problem =
            Some(TracedProblem { reason: refusal.reason(), detail: detail.clone(), is_kept });
        (error, detail)
    }

    /// Notes that the connection is closed without an answer.
    pub(crate) fn closed(&self, refusal: Refusal) {
        let mut progress = self.progress.borrow_mut();
        let details = progress.details_mut();
        details.is_closed = true;
        details.problem = Some(TracedProblem { reason: refusal.reason(), detail: refusal.sentence(), is_kept: true });
    }

    /// Notes that the backend broke off the response to a request to the route `asked`.
    pub(crate) fn broke_off(&self, asked: Option<AskedRoute>) {
        let detail = "The backend broke its response off.".into();
        let mut progress = self.progress.borrow_mut();
        progress.asked = asked.or(progress.asked.take());
        let details = progress.details_mut();
        details.problem = Some(TracedProblem { reason: "response_broken_off", detail, is_kept: true });
        details.attempt_ended("http_response_incomplete");
    }

    /// Counts the bytes of the bodies.
    pub(crate) fn count_bytes(&self, received: u64, sent: u64) {
        let mut progress = self.progress.borrow_mut();
        progress.received += received;
        progress.sent += sent;
    }

    /// Warns of a backend that fails requests: now and then, with the number of failures.
    fn warn(&self, progress: &TraceProgress, refusal: Refusal, detail: &str) {
        let Some(endpoint) = &progress.endpoint else { return };
        let Some(owner) = endpoint.owner() else { return };
        let Some(failures) = owner.warnings.warns(endpoint.origin_hash, clock::now()) else { return };
        tracing::warn!(
            service = owner.service.as_str(),
            instance = owner.instance.as_str(),
            route = %endpoint.id(),
            backend = %endpoint.backend(),
            status = refusal.status().as_u16(),
            failures,
            request = %self.id,
            reason = detail,
            "a backend fails requests"
        );
    }

    /// Tells of the request, if it has failed or somebody wants to know of it.
    fn tell(&mut self, has_failed: bool) {
        let progress = self.progress.get_mut();
        if progress.revision == 0 {
            // It was answered before its route was looked up.
            progress.revision = self.worker.table.load().revision();
        }
        let (progress, mut room) = (self.progress.borrow(), [0; 32]);
        let finished = self.finished(self.id.text(&mut room), &progress);
        if self.span().is_some() {
            self.tell_span(&self.worker.requests.view(&finished), &progress);
        }
        self.worker.requests.tell(&finished, has_failed);
    }

    fn finished<'a>(&'a self, id: &'a [u8], progress: &'a TraceProgress) -> FinishedRequest<'a> {
        let asked = progress.asked();
        let owner = asked.and_then(|(_, owner)| owner);
        let extras = self.extras.as_ref();
        let details = progress.details.as_deref();
        let problem = details.and_then(|details| details.problem.as_ref());
        let unsent = if details.is_some_and(|details| details.is_closed) { CLOSED_STATUS } else { CLIENT_GONE_STATUS };
        FinishedRequest {
            began: self.began,
            id,
            trace_id: extras.and_then(|extras| extras.trace_id),
            client: self.address,
            method: self.method.as_str(),
            is_secure: self.client.peer.secure,
            host: self.host(),
            path: self.target.path(),
            query: self.target.query(),
            protocol: self.protocol,
            status: progress.status.map_or(unsent, |status| status.as_u16()),
            bytes_received: progress.received,
            bytes_sent: progress.sent,
            duration: clock::instant().saturating_duration_since(self.began),
            upstream: progress.upstream,
            owner: owner.map(names),
            route_id: progress.route,
            route_part: progress.route_part(),
            attempts: progress.attempts,
            tried: details.map(|details| details.tried(self.began, asked, progress.upstream)).unwrap_or_default(),
            reason: problem.map(|problem| (problem.reason, &*problem.detail)),
            user_agent: extras.and_then(|extras| extras.user_agent.as_ref()).map(HeaderValue::as_bytes),
            referer: extras.and_then(|extras| extras.referer.as_ref()).map(HeaderValue::as_bytes),
            revision: progress.revision,
        }
    }

    /// Returns the host that the request was for: of its target, or else of its `Host` field (RFC 9112 §3.2.2).
    fn host(&self) -> &[u8] {
        let of_field = || self.host.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
        self.target.authority().map_or_else(of_field, |authority| without_user(authority.as_str()).as_bytes())
    }
}

impl Drop for RequestTrace {
    fn drop(&mut self) {
        let details = self.progress.get_mut().details.as_ref();
        let has_failed = details.is_some_and(|details| details.problem.as_ref().is_some_and(|problem| problem.is_kept));
        // Most requests end here.
        if has_failed || self.extras.is_some() {
            self.tell(has_failed);
        }
    }
}
