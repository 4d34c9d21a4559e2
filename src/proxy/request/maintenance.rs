//! The answers of a pool in maintenance: the page that a session named, and the server of that page for all other requests.
//!
//! `maintenance_pages` keeps the page itself. Here are the requests that such a page makes, for its scripts and images.
//! Invariants: a connection to the page's server obeys the same rules as one to a backend; if the server does not answer,
//! the client learns only that the route is in maintenance.

use std::rc::Rc;
use std::sync::Arc;

use http::Response;
use http::header::{CACHE_CONTROL, HeaderValue};

use crate::proxy::context::breaker_guard::BreakerGuard;
use crate::proxy::context::request::RequestContext;
use crate::proxy::context::trace::RequestTrace;
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::refusal::{AttemptError, Refusal};
use crate::proxy::request::admission::{self, ResponseExtras};
use crate::proxy::request::upstream_request::UpstreamRequest;
use crate::proxy::response::body::ProxyBody;
use crate::proxy::response::refusal_page::MAINTENANCE_MODE;
use crate::traffic::{AttemptFailure, Endpoint, Pool};

/// Answers a request for a pool in maintenance: a browser that opens a page gets the maintenance page, the page's server
/// gets all other requests, and a gRPC call gets a status.
///
/// # Errors
/// The refusal.
pub(crate) async fn respond(
    trace: &Rc<RequestTrace>,
    pool: &Pool,
    request: UpstreamRequest<'_>,
    extras: &mut ResponseExtras,
) -> Result<Response<ProxyBody>, Refusal> {
    let worker = &trace.worker;
    let Some((member, page)) = pool.maintenance_page().filter(|_| !request.opens_a_page() && request.grpc.is_none())
    else {
        return Err(extras.refuse(worker, pool, Refusal::Maintenance));
    };
    let endpoint = Arc::new(member.maintenance_endpoint(&page));
    let answered = pass_on(trace, &endpoint, request).await.map_err(as_maintenance);
    let answered = answered.inspect_err(|refusal| admission::count_refusal(worker, member, extras.method, *refusal))?;
    member.live.record_refusal(worker.id, extras.method, answered.status().as_u16());
    Ok(marked(answered))
}

async fn pass_on(
    trace: &Rc<RequestTrace>,
    endpoint: &Arc<Endpoint>,
    mut request: UpstreamRequest<'_>,
) -> Result<Response<ProxyBody>, Refusal> {
    let (worker, client) = (&trace.worker, &trace.client);
    loop {
        request.check_options(endpoint)?;
        // The outcome says nothing of the route's own backend: this endpoint lives for one request.
        let breaker = BreakerGuard::unguarded();
        let context = RequestContext::new(trace, endpoint, breaker, request.body.clone());
        let error = match worker.upstreams.get(&client.logins, endpoint, request.needs()).await {
            Ok(mut upstream) => match request.send(worker, &mut upstream, endpoint).await {
                Ok(response) => return request.respond(worker, context, endpoint, upstream, response),
                Err(error) => error,
            },
            Err(_) => AttemptError::of_connection(AttemptFailure::Connect),
        };
        trace.attempt_ended(error.cause.error);
        if !may_retry(worker, endpoint, &mut request, &error) {
            return Err(error.refusal);
        }
    }
}

/// True if only an idle connection had died, which says nothing of the server.
fn may_retry(
    worker: &WorkerContext,
    endpoint: &Endpoint,
    request: &mut UpstreamRequest<'_>,
    error: &AttemptError,
) -> bool {
    matches!(
        error.failure,
        AttemptFailure::Unsent
            | AttemptFailure::Refused
            | AttemptFailure::Http1Required { is_possible: true }
            | AttemptFailure::PooledDied
    ) && request.may_retry(worker, endpoint, error.failure)
}

/// Returns the refusal for the client: a page's server that does not answer means that the route is in maintenance.
fn as_maintenance(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::BadGateway | Refusal::GatewayTooSlow | Refusal::NoRoom => Refusal::Maintenance,
        other => other,
    }
}

/// Marks a response as one that is not the route's own and must not be cached.
fn marked(mut response: Response<ProxyBody>) -> Response<ProxyBody> {
    let headers = response.headers_mut();
    headers.insert(MAINTENANCE_MODE, HeaderValue::from_static("true"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
