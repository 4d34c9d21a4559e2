//! A client's request on its way to a backend: built once, and fitted to each endpoint that it is sent to.
//!
//! Invariants: a request is sent again only if no backend can have processed any of it, and then it is the same
//! request.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::header::{CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Uri, Version};

use crate::clock;
use crate::connect::serial;
use crate::domain::Scheme;
use crate::proxy::client::client_body::ClientBody;
use crate::proxy::client::stream_tunnel::ClientUpgrade;
use crate::proxy::context::client::ClientContext;
use crate::proxy::context::trace::RequestTrace;
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::refusal::{AttemptError, Refusal};
use crate::proxy::request::expect::{self, Expectation};
use crate::proxy::upstream::request_body::{RequestBody, UploadProgress};
use crate::proxy::upstream::send_error::SendError;
use crate::proxy::upstream::upstream_conn::UpstreamConn;
use crate::proxy::upstream::upstreams::ConnectionNeeds;
use crate::traffic::{
    AddedFields, AttemptFailure, ContentCoding, Endpoint, HopCount, Pool, RequestHop, SelectionInput, Upgrade,
    accepts_html, authenticates_connection, edit_request, grpc_timeout, is_grpc_call, is_secure, may_retry,
    requested_upgrade, strengthen_etags,
};

/// The time for which a body is held back if the backend does not ask for it.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// A request on its way to a backend, with all that another attempt needs.
pub(crate) struct UpstreamRequest<'a> {
    trace: &'a RequestTrace,
    pub(crate) client: &'a ClientContext,
    pub(crate) body: RequestBody,
    pub(crate) method: Method,
    target: Uri,
    // The target for the current endpoint, if it has one of its own. Boxed because it is rare.
    rewritten: Option<Box<Uri>>,
    // The fields of the request, without those that are added to each.
    headers: HeaderMap,
    hops: HopCount,
    pub(crate) host: Option<HeaderValue>,
    // The prefix that a trusted proxy has removed from the path.
    prefix: Option<HeaderValue>,
    is_http_10: bool,
    /// True if the client speaks TLS, with this server or with a trusted proxy.
    pub(crate) is_secure: bool,
    /// True if the request authenticates its connection; see `login_conns`.
    pub(crate) logs_in: bool,
    pub(crate) upgrade: Option<(Upgrade, ClientUpgrade)>,
    attempts: u32,
    /// The coding that the client prefers, if the endpoint compresses.
    pub(crate) coding: Option<ContentCoding>,
    /// The call, if the request is one of gRPC.
    pub(crate) grpc: Option<GrpcCall>,
}

/// A gRPC call.
pub(crate) struct GrpcCall {
    /// The time that the client gives the call, and the time when it arrived.
    deadline: Option<(Duration, Instant)>,
}

impl<'a> UpstreamRequest<'a> {
    /// Builds the part of a request to a backend that is the same for all endpoints. It leaves nothing of `request` but its method.
    pub(crate) fn new(trace: &'a RequestTrace, request: &mut Request<ClientBody>) -> Self {
        let client = &*trace.client;
        let is_http_10 = request.version() == Version::HTTP_10;
        // HTTP/1.0 has no upgrades (RFC 9110 §7.8).
        let upgrade = requested_upgrade(request.headers()).filter(|_| !is_http_10);
        let upgrade = upgrade.and_then(|upgrade| Some((upgrade, ClientBody::upgrade_of(request)?)));
        let (method, target) = (request.method().clone(), std::mem::take(request.uri_mut()));
        let incoming = std::mem::replace(request.body_mut(), ClientBody::Tunnel(None));
        let mut headers = std::mem::take(request.headers_mut());
        let expects = !is_http_10 && expect::expectation(&headers) == Expectation::Continue;
        if is_http_10 {
            // It has no meaning in HTTP/1.0 (RFC 9110 §10.1.1), but would have one for the backend.
            headers.remove(EXPECT);
        }
        let host = headers.get(HOST).cloned();
        let prefix = if client.peer.trusted { headers.get(X_FORWARDED_PREFIX).cloned() } else { None };
        let is_secure = is_secure(&headers, &client.peer);
        let logs_in = authenticates_connection(&headers);
        let grpc = is_grpc_call(&method, &headers)
            .then(|| GrpcCall { deadline: grpc_timeout(&headers).map(|span| (span, clock::instant())) });
        let passed_on = upgrade.as_ref().map(|(upgrade, _)| upgrade);
        let hop = RequestHop { peer: &client.peer, client: trace.address, upgrade: passed_on };
        let hops = edit_request(&mut headers, hop);
        trace.set_parent(&mut headers);
        Self {
            trace,
            client,
            body: RequestBody::new(incoming, expects),
            method,
            target,
            rewritten: None,
            headers,
            hops,
            host,
            prefix,
            is_http_10,
            is_secure,
            logs_in,
            upgrade,
            attempts: 0,
            coding: None,
            grpc,
        }
    }

    /// Returns the fields that are added to those of the request.
    fn added_fields(&self) -> AddedFields<'_> {
        AddedFields { peer: &self.client.peer, host: self.host.as_ref(), hops: self.hops, id: &self.trace.id }
    }

    /// Returns the input for the selection of a member.
    pub(crate) fn selection_input(&self, worker: &WorkerContext, pool: &Pool) -> SelectionInput {
        SelectionInput {
            random_bits: worker.random.next(),
            turn: pool.next_turn(worker.id),
            client: self.trace.address,
        }
    }

    /// True if a browser opens a page with it, and does not load a part of a page.
    pub(crate) fn opens_a_page(&self) -> bool {
        [Method::GET, Method::HEAD].contains(&self.method) && accepts_html(&self.headers)
    }

    /// Returns its needs as to the connection. After one idle connection has died, the others may be dead too.
    pub(crate) fn needs(&self) -> ConnectionNeeds {
        let http1 = self.upgrade.is_some() || self.logs_in;
        ConnectionNeeds { fresh: self.attempts > 0, http1, read_ahead: self.client.read_ahead.clone() }
    }

    /// Refuses a request that the endpoint's options do not allow.
    ///
    /// # Errors
    /// The refusal.
    pub(crate) fn check_options(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        let options = endpoint.options();
        let speaks_http2 = endpoint.backend().scheme() == Scheme::H2c;
        if self.upgrade.is_some() && (!options.websocket || speaks_http2) {
            return Err(Refusal::NoUpgrade);
        }
        if self.body.sending().is_some_and(|sending| sending.exceeds(options.max_body_size)) {
            return Err(Refusal::TooLarge { max: options.max_body_size });
        }
        Ok(())
    }

    /// Sends the request and waits for the head of the response.
    ///
    /// # Errors
    /// If no usable head arrives in time.
    pub(crate) async fn send(
        &mut self,
        worker: &WorkerContext,
        upstream: &mut UpstreamConn,
        endpoint: &Endpoint,
    ) -> Result<Response<()>, AttemptError> {
        let may_be_resent = self.attempts < endpoint.options().retries;
        let is_kept = may_be_resent && upstream.may_give_back(self.method.is_idempotent());
        self.body.keep_for_another_try(is_kept, &worker.settings.memory);
        self.fit_to(endpoint);
        let interim = |heads: &[u8]| self.pass_interim(heads);
        let sent = match upstream {
            UpstreamConn::Http1(conn) => {
                let target = self.rewritten.as_deref().unwrap_or(&self.target);
                conn.begin((&self.method, target, &self.headers), self.added_fields(), &self.body);
                let starves = conn.may_starve();
                let mut body = self.body.clone();
                let answered = self.within(worker, endpoint, |cx| conn.poll_head(cx, &mut body, interim));
                if starves {
                    Box::pin(serial::await_answer(endpoint.origin_hash, serial::STALLED_AFTER, answered)).await?
                } else {
                    answered.await?
                }
            }
            UpstreamConn::Http2(stream) => {
                // Boxed because the futures of HTTP/1.1 requests stay small.
                let mut sending = Box::pin(stream.send(self.whole(), interim));
                self.within(worker, endpoint, |cx| sending.as_mut().poll(cx)).await?
            }
        };
        sent.map_err(|error| {
            if error.failure == (AttemptFailure::Http1Required { is_possible: true }) {
                worker.upstreams.note_http1_required(endpoint);
            }
            self.classify(error)
        })
    }

    /// Returns the request as a whole, as HTTP/2 takes it.
    fn whole(&self) -> Request<RequestBody> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.rewritten.as_deref().unwrap_or(&self.target).clone();
        let mut headers = self.headers.clone();
        self.added_fields().for_each(|name, value| {
            // All values are valid.
            HeaderValue::from_bytes(value).into_iter().for_each(|value| drop(headers.insert(name.clone(), value)));
        });
        *request.headers_mut() = headers;
        request
    }

    /// Sets the target and the fields that only this endpoint's backend gets, in place of those of an endpoint before.
    fn fit_to(&mut self, endpoint: &Endpoint) {
        let target = self.target.path_and_query().map_or("/", PathAndQuery::as_str);
        self.rewritten = endpoint.rewrite(target).and_then(|target| Uri::try_from(target).ok()).map(Box::new);
        self.coding = None;
        if endpoint.options().compression {
            self.coding = ContentCoding::wanted(&self.headers);
            if !endpoint.live.has_weak_etags() {
                strengthen_etags(&mut self.headers);
            }
        }
        self.set_prefix(endpoint);
        self.set_connection(endpoint);
        let own_name = || HeaderValue::try_from(endpoint.backend().authority()).ok();
        let host = match (endpoint.authority(), &self.host) {
            (Some(host), _) => Some(host.clone()),
            (None, Some(host)) if self.attempts > 0 => Some(host.clone()),
            (None, Some(_)) => None,
            // An HTTP/1.0 client may name no host; in HTTP/1.1 the proxy must.
            (None, None) => own_name(),
        };
        if let Some(host) = host {
            self.headers.insert(HOST, host);
        }
    }

    /// Asks the backend to close the connection if it is not used again.
    fn set_connection(&mut self, endpoint: &Endpoint) {
        let closes = !endpoint.options().keep_alive;
        if self.upgrade.is_some() || (!closes && self.attempts == 0) {
            return;
        }
        let names = match (closes, self.headers.contains_key(TE)) {
            (true, true) => "te, close",
            (true, false) => "close",
            (false, true) => "te",
            (false, false) => {
                self.headers.remove(CONNECTION);
                return;
            }
        };
        self.headers.insert(CONNECTION, HeaderValue::from_static(names));
    }

    /// Names the part of the path that the backend does not see, after the part that a trusted proxy has removed.
    fn set_prefix(&mut self, endpoint: &Endpoint) {
        let before = self.prefix.as_ref();
        let own = endpoint.stripped().and_then(|stripped| {
            let before = before.and_then(|before| before.to_str().ok()).unwrap_or_default().trim_end_matches('/');
            HeaderValue::try_from(format!("{before}{stripped}")).ok()
        });
        match own.or_else(|| before.filter(|_| self.attempts > 0).cloned()) {
            Some(prefix) => {
                self.headers.insert(X_FORWARDED_PREFIX, prefix);
            }
            None if self.attempts > 0 => {
                self.headers.remove(X_FORWARDED_PREFIX);
            }
            None => {}
        }
    }

    /// Passes interim heads to the client as they arrive. HTTP/1.0 has none (RFC 9110 §15.2).
    fn pass_interim(&self, heads: &[u8]) {
        if !self.is_http_10 {
            self.client.state.pass_interim(heads);
        }
    }

    /// Waits for the head of a response for at most the route's timeout from the start, or from the last move of the request body;
    /// and not beyond the deadline of a gRPC call.
    async fn within<T>(
        &self,
        worker: &WorkerContext,
        endpoint: &Endpoint,
        mut sent: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Result<T, AttemptError> {
        let limit = endpoint.options().timeout.std();
        let body = self.body.sending();
        let first = if self.body.is_held() { limit.min(CONTINUE_WAIT) } else { limit };
        let (mut due, mut frames) = (self.wake_after(worker, first), 0);
        let answered = poll_fn(|cx| {
            if let Poll::Ready(head) = sent(cx) {
                return Poll::Ready(Ok(head));
            }
            if worker.ticks.now() < due {
                return Poll::Pending;
            }
            match body {
                _ if self.time_left() == Some(Duration::ZERO) => {
                    return Poll::Ready(Err(AttemptError::other(Refusal::DeadlinePassed)));
                }
                // A backend that knows no expectations waits for the body and never asks for it.
                Some(_) if self.body.is_held() => self.body.open_gate(),
                Some(body) if body.frames() > frames => frames = body.frames(),
                Some(body) if body.client_is_slow() => {
                    return Poll::Ready(Err(AttemptError::other(Refusal::ClientTooSlow)));
                }
                _ => return Poll::Ready(Err(AttemptError::other(Refusal::GatewayTooSlow))),
            }
            due = self.wake_after(worker, limit);
            Poll::Pending
        })
        .await;
        self.client.wake_at(&worker.connections, None);
        answered
    }

    /// Returns the time until the deadline of a gRPC call, if it has one.
    pub(crate) fn time_left(&self) -> Option<Duration> {
        let (span, arrived) = self.grpc.as_ref()?.deadline?;
        Some(span.saturating_sub(clock::instant().saturating_duration_since(arrived)))
    }

    /// Has the task of the connection woken after `limit`, or at the deadline of a gRPC call. Returns the tick.
    fn wake_after(&self, worker: &WorkerContext, limit: Duration) -> u32 {
        let due = worker.ticks.after(self.time_left().map_or(limit, |left| left.min(limit)));
        self.client.wake_at(&worker.connections, Some(due));
        due
    }

    /// Returns the error of an attempt that failed after it got a connection.
    fn classify(&self, error: SendError) -> AttemptError {
        match self.body.sending().map(|sending| (sending.state(), sending.bytes_max())) {
            Some((UploadProgress::TooLarge, max)) => return AttemptError::other(Refusal::TooLarge { max }),
            Some((UploadProgress::Broken, _)) => return AttemptError::other(Refusal::BadRequest),
            _ => {}
        }
        let known = AttemptError::of_connection(error.failure);
        AttemptError { cause: error.cause.unwrap_or(known.cause), ..known }
    }

    /// Prepares another attempt after a failed one. Returns false if the request may not be sent again.
    pub(crate) fn may_retry(&mut self, worker: &WorkerContext, endpoint: &Endpoint, failure: AttemptFailure) -> bool {
        self.attempts += 1;
        let may_retry = self.attempts <= endpoint.options().retries
            && may_retry(failure, self.method.is_idempotent(), self.body.upload())
            && worker.retry_budget.borrow_mut().spend();
        if may_retry {
            self.body.rewind();
            self.trace.set_parent(&mut self.headers);
        }
        may_retry
    }
}
