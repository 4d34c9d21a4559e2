//! The life of a request, from its head to the head of its response.
//!
//! | step | decided in |
//! |---|---|
//! | check the head, normalize the target | [`target`] |
//! | check that the connection is for the host | `certificates::TlsIdentity` |
//! | find the pool of the route, check that it is for HTTP/3 | `traffic::RoutingTable` |
//! | redirect to https | [`redirect`] |
//! | admit: maintenance, rate limit | [`admission`] |
//! | select a member | [`Attempts`], `traffic::Pool` |
//! | check the options and the breaker of the endpoint | [`UpstreamRequest`], [`BreakerGuard`] |
//! | get a connection, send the request | [`UpstreamRequest`], `upstream` |
//! | pass the response on, or try again, or refuse | [`RequestContext`], `response` |

use std::rc::Rc;
use std::sync::Arc;

use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;

use crate::certificates::TlsIdentity;
use crate::connect::ConnectError;
use crate::proxy::client::client_body::ClientBody;
use crate::proxy::client::conn_state::ConnStage;
use crate::proxy::client::framing::{BodyLength, FramingError};
use crate::proxy::context::breaker_guard::BreakerGuard;
use crate::proxy::context::client::ClientContext;
use crate::proxy::context::request::{RequestContext, RequestOutcome};
use crate::proxy::context::trace::RequestTrace;
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::refusal::{AttemptCause, AttemptError, Refusal};
use crate::proxy::request::admission::{self, ResponseExtras};
use crate::proxy::request::attempts::Attempts;
use crate::proxy::request::upstream_request::UpstreamRequest;
use crate::proxy::request::{maintenance, redirect, target};
use crate::proxy::response::body::ProxyBody;
use crate::proxy::response::grpc_refusal::grpc_refusal;
use crate::proxy::response::refusal_page::{mark, refusal_page, session_page};
use crate::proxy::settings::UnmatchedPolicy;
use crate::traffic::{AttemptFailure, Endpoint, NoEndpoint, Pool, grpc_status, is_grpc_call};
use crate::{clock, sockets};

/// The reason to close a connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer")]
pub(crate) struct CloseConnection;

/// Answers a request with a backend's response, or with a page that names the problem.
///
/// # Errors
/// If the connection is to be closed without an answer.
pub(crate) async fn forward(
    worker: &Rc<WorkerContext>,
    client: &Rc<ClientContext>,
    request: &mut Request<ClientBody>,
) -> Result<Response<ProxyBody>, CloseConnection> {
    let length = target::body_length(request.body());
    let framed = begin(client, request.body(), length);
    let is_http3 = request.body().is_http3();
    let head = (request.method(), request.uri(), request.version(), request.headers());
    let trace = RequestTrace::new(worker, client, head, is_http3);
    let (method, is_http_10) = (request.method().clone(), request.version() == Version::HTTP_10);
    let is_call = is_grpc_call(&method, request.headers());
    if is_call {
        trace.is_call();
    }
    let accept = request.headers().get(ACCEPT).filter(|_| !client.state.keeps_head()).cloned();
    let mut extras = ResponseExtras::new(&method);
    let proxied = match framed {
        Ok(()) if let Some(answer) = worker.settings.tokens.answer(request.uri().path()) => {
            return Ok(token_answer(&trace, &answer, length, is_http_10));
        }
        Ok(()) => proxy_request(&trace, request, &mut extras).await,
        Err(FramingError) => Err(Refusal::BadRequest),
    };
    let mut response = match proxied {
        Ok(response) => {
            client.state.enter(ConnStage::Answering);
            response
        }
        Err(Refusal::Unmatched) if worker.reloadable.get().unmatched == UnmatchedPolicy::Close => {
            worker.counters.count_refusal(Refusal::Unmatched, None);
            trace.closed(Refusal::Unmatched);
            return Err(CloseConnection);
        }
        Err(refusal) => {
            let kept = client.state.field(&method, ACCEPT.as_str()).flatten();
            let accept = kept.as_deref().or(accept.as_ref().map(HeaderValue::as_bytes)).unwrap_or_default();
            // Bytes for the other side may follow a refused CONNECT.
            if length != BodyLength::None || method == Method::CONNECT {
                client.state.linger();
            }
            let page = match extras.page.as_deref() {
                Some((session, url)) => worker.maintenance_pages.page(*session, url).await,
                None => None,
            };
            client.state.answered();
            let answer = match page {
                _ if is_call => grpc_refusal(refusal),
                Some(page) => session_page(refusal, page),
                None => refusal_page(refusal, &trace.id, accept),
            };
            refused(&trace, refusal, extras.refused_for.as_ref(), answer)
        }
    };
    trace.answered(response.status());
    extras.apply(response.headers_mut(), client.peer.secure);
    if worker.is_stopping.get() && client.carrier.is_none() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if is_http_10 && adapt_to_http_10(&mut response) {
        client.state.ends_with_answer();
    }
    Ok(response)
}

/// Adds to the proxy's own answer what it says of the request.
fn refused(
    trace: &RequestTrace,
    refusal: Refusal,
    endpoint: Option<&Arc<Endpoint>>,
    mut answer: Response<ProxyBody>,
) -> Response<ProxyBody> {
    let bytes = answer.body().size_hint().exact().unwrap_or_default();
    let (error, detail) = trace.refused(refusal, endpoint, bytes);
    if let Some(status) = grpc_status(answer.headers()) {
        trace.call_refused(status);
    }
    let details = trace.worker.reloadable.get().error_details.then_some(&*detail);
    mark(answer.headers_mut(), &trace.id, error, details);
    answer
}

/// Answers a request whose head is malformed, before anything else is known of it.
pub(crate) fn refuse_malformed(
    worker: &Rc<WorkerContext>,
    client: &Rc<ClientContext>,
    head: &Parts,
    is_http3: bool,
    refusal: Refusal,
) -> Response<ProxyBody> {
    let trace = RequestTrace::new(worker, client, (&head.method, &head.uri, head.version, &head.headers), is_http3);
    let accept = head.headers.get(ACCEPT).map(HeaderValue::as_bytes).unwrap_or_default();
    let page = refusal_page(refusal, &trace.id, accept);
    refused(&trace, refusal, None, page)
}

/// Notes that a request has begun. The framing of a stream is not that of its bytes, so only HTTP/1 has one to check.
fn begin(client: &ClientContext, body: &ClientBody, length: BodyLength) -> Result<(), FramingError> {
    if body.has_connection() {
        return client.state.request(length);
    }
    client.state.enter(ConnStage::Busy);
    Ok(())
}

/// Returns the answer to an authority that looks for a token (RFC 8555 §8.3).
fn token_answer(trace: &RequestTrace, answer: &str, length: BodyLength, is_http_10: bool) -> Response<ProxyBody> {
    let client = &trace.client;
    trace.answered_itself(StatusCode::OK, answer.len() as u64);
    if length != BodyLength::None {
        client.state.linger();
    }
    client.state.answered();
    let mut response = Response::new(ProxyBody::Whole(Some(answer.to_owned().into())));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if is_http_10 && adapt_to_http_10(&mut response) {
        client.state.ends_with_answer();
    }
    response
}

/// Adapts a response to an HTTP/1.0 client, which finds the end of a response without a length only by the end of the
/// connection. Returns true for such a response. For the others hyper tells the client whether the connection goes on.
fn adapt_to_http_10(response: &mut Response<ProxyBody>) -> bool {
    let fields = response.headers();
    let has_length = fields.contains_key(CONTENT_LENGTH) || response.body().size_hint().exact().is_some();
    if !has_length || fields.contains_key(CONNECTION) {
        // hyper closes the connection after a response of this version.
        *response.version_mut() = Version::HTTP_10;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    !has_length
}

/// Checks a request, finds its pool, and sends it there.
async fn proxy_request(
    trace: &Rc<RequestTrace>,
    request: &mut Request<ClientBody>,
    extras: &mut ResponseExtras,
) -> Result<Response<ProxyBody>, Refusal> {
    let (worker, client) = (&trace.worker, &trace.client);
    target::check(request, &client.state)?;
    let table = worker.table.load();
    trace.looked_up(table.revision());
    target::normalize_target(request)?;
    let normal = target::normalize_path(request)?;
    let path = normal.as_deref().unwrap_or_else(|| request.uri().path());
    let host = target::host(request)?;
    let misdirected = |identity: &Rc<TlsIdentity>| !identity.may_ask_for(&host, || worker.certificates.current());
    if client.tls.as_ref().is_some_and(|identity| !host.is_empty() && misdirected(identity)) {
        return Err(Refusal::Misdirected);
    }
    let pool = table.find(&host, path).ok_or(Refusal::Unmatched)?;
    let is_for_http3 = || pool.members().first().is_none_or(|oldest| oldest.options().http3);
    if request.body().is_http3() && !is_for_http3() {
        return Err(Refusal::Misdirected);
    }
    redirect::to_https(&worker.settings, &client.peer, request, pool, extras)?;
    let proxied = send_to_pool(trace, request, pool, extras).await;
    if proxied.is_err() && extras.refused_for.is_none() {
        extras.refused_for = pool.members().first().cloned();
    }
    proxied
}

/// Sends a request to the members of a pool, one after the other, until one responds or none may be tried.
async fn send_to_pool(
    trace: &Rc<RequestTrace>,
    request: &mut Request<ClientBody>,
    pool: &Pool,
    extras: &mut ResponseExtras,
) -> Result<Response<ProxyBody>, Refusal> {
    let (worker, client) = (&trace.worker, &trace.client);
    if let Err(refusal) = admission::admit(worker, pool, trace.address, trace.began, extras) {
        let Refusal::Maintenance = refusal else { return Err(refusal) };
        let request = UpstreamRequest::new(trace, request);
        // Boxed because it is rare: the futures of other requests stay small.
        return Box::pin(maintenance::respond(trace, pool, request, extras)).await;
    }
    worker.retry_budget.borrow_mut().earn();
    let mut request = UpstreamRequest::new(trace, request);
    let mut attempts = Attempts::default();
    let mut began = trace.began;
    // The endpoint that failed, until another attempt follows.
    let mut retried: Option<&Arc<Endpoint>> = None;
    loop {
        let now = clock::at(began);
        let selected = attempts.next_member(&client.logins, pool, now, || request.selection_input(worker, pool));
        let member = match selected {
            Ok(member) => member,
            // The failed attempt was counted.
            Err(_) if let Some(refusal) = attempts.last_refusal() => return Err(refusal),
            Err(NoEndpoint::Maintenance) => {
                return Box::pin(maintenance::respond(trace, pool, request, extras)).await;
            }
            Err(none) => return Err(extras.refuse(worker, pool, admission::refusal(none, now))),
        };
        // The index is always that of a member.
        let endpoint = pool.members().get(member).ok_or(Refusal::BadGateway)?;
        if let Err(refusal) = request.check_options(endpoint) {
            admission::count_refusal(worker, endpoint, extras.method, refusal);
            extras.refused_for = Some(Arc::clone(endpoint));
            return Err(refusal);
        }
        // Another request may have taken the last permit since the selection.
        let Some(breaker) = BreakerGuard::acquire(endpoint, &worker.reports, now) else { continue };
        let mut context = RequestContext::new(trace, endpoint, breaker, request.body.clone());
        retried.take().into_iter().for_each(|failed| failed.live.record_retry(worker.id));
        let error = match worker.upstreams.get(&client.logins, endpoint, request.needs()).await {
            Ok(mut upstream) => match request.send(worker, &mut upstream, endpoint).await {
                Ok(response) => {
                    endpoint.live.connect_backoff.record_success();
                    return request.respond(worker, context, endpoint, upstream, response);
                }
                Err(error) => error,
            },
            Err(error) => no_connection(endpoint, &error),
        };
        let again = attempts.note_failure(pool, member, &error) && request.may_retry(worker, endpoint, error.failure);
        let outcome = outcome(&error, again);
        trace.attempt_failed(endpoint, began, &error.cause, outcome.is_failure_of_backend());
        context.finish(outcome);
        if error.failure == AttemptFailure::Connect {
            endpoint.live.connect_backoff.record_failure(clock::now());
        }
        if !again {
            extras.refused_for = Some(Arc::clone(endpoint));
            return Err(error.refusal);
        }
        retried = Some(endpoint);
        began = clock::instant();
    }
}

/// Returns the error of an attempt that got no connection.
fn no_connection(endpoint: &Endpoint, error: &ConnectError) -> AttemptError {
    tracing::debug!(route = %endpoint.id(), backend = %endpoint.backend(), unreachable = %error, "no connection");
    if error.lacks_resources() {
        sockets::warn_used_up();
        AttemptError { refusal: Refusal::NoRoom, ..AttemptError::of_connection(AttemptFailure::NoRoom) }
    } else {
        let cause = AttemptCause { words: error.to_string().into(), error: error.proxy_error() };
        AttemptError { cause, ..AttemptError::of_connection(AttemptFailure::Connect) }
    }
}

/// Returns the outcome of a failed attempt. A connection that had died says nothing of the endpoint if the request is sent
/// again; nor does a lack of room on this server.
fn outcome(error: &AttemptError, again: bool) -> RequestOutcome {
    match error.failure {
        AttemptFailure::NoRoom => RequestOutcome::NotCounted,
        AttemptFailure::Unsent
        | AttemptFailure::Refused
        | AttemptFailure::Http1Required { .. }
        | AttemptFailure::PooledDied
        | AttemptFailure::Other
            if again =>
        {
            RequestOutcome::NotCounted
        }
        _ => RequestOutcome::Refused(error.refusal),
    }
}
