//! Who answers while all instances that could are in maintenance: the server of the page that a session gave.
//!
//! What it is not: the page itself, which `maintenance_pages` has ready for those who come to look. Here are the requests that such a page
//! makes, of its scripts and for its images. What must hold: that server is connected to as any backend is, so that what is denied stays
//! so; where it does not answer, the route is in maintenance and nothing else.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::Response;
use http::header::{CACHE_CONTROL, HeaderValue};

use crate::proxy::listener::worker::Worker;
use crate::proxy::request::admission as gate;
use crate::proxy::request::admission::Aside;
use crate::proxy::request::forward::Client;
use crate::proxy::request::upstream_request::Errand;
use crate::proxy::request::upstream_request::Failed;
use crate::proxy::response::body::Answer;
use crate::proxy::response::pages::MAINTENANCE_MODE;
use crate::proxy::response::pages::Refusal;
use crate::proxy::upstream::conn::Upstream;
use crate::traffic::{AttemptFailure, Endpoint, Pool};

/// Answers a request for a pool in maintenance: who comes to look gets a page, every other request goes to the page's server.
pub(crate) async fn answer(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    pool: &Pool,
    errand: Errand<'_>,
    began: Instant,
    aside: &mut Aside,
) -> Result<Response<Answer>, Refusal> {
    let Some((member, page)) = pool.maintenance_page().filter(|_| !errand.looks_for_a_page()) else {
        return Err(aside.refusing(worker, pool, Refusal::Maintenance));
    };
    let endpoint = Arc::new(member.maintenance_endpoint(&page));
    let answered = pass_on(worker, client, &endpoint, errand, began).await.map_err(away);
    let answered = answered.inspect_err(|refusal| gate::count(worker, member, *refusal))?;
    member.live.record_refusal(worker.id, answered.status().as_u16());
    Ok(marked(answered))
}

async fn pass_on(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    endpoint: &Arc<Endpoint>,
    mut errand: Errand<'_>,
    began: Instant,
) -> Result<Response<Answer>, Refusal> {
    loop {
        errand.admit(endpoint)?;
        // Of nobody: what comes of it says nothing of the route's own backend.
        let account = errand.account(worker, endpoint, began);
        let Ok(upstream) = Upstream::get(worker, client, endpoint, errand.needs_fresh()).await else {
            return Err(Refusal::BadGateway);
        };
        let failed = match errand.send(worker, upstream, endpoint).await {
            Ok((upstream, response)) => return errand.answer(worker, client, endpoint, account, upstream, response),
            Err(failed) => failed,
        };
        if !may_go_again(worker, endpoint, &mut errand, &failed) {
            return Err(failed.refusal);
        }
    }
}

/// A kept connection that has died says nothing of the server.
fn may_go_again(worker: &Worker, endpoint: &Endpoint, errand: &mut Errand<'_>, failed: &Failed) -> bool {
    matches!(failed.failure, AttemptFailure::Unsent | AttemptFailure::PooledDied)
        && errand.may_retry(worker, endpoint, failed.failure)
}

/// That the page's server does not answer is no news to a client: the route is in maintenance.
fn away(refusal: Refusal) -> Refusal {
    match refusal {
        Refusal::BadGateway | Refusal::GatewayTooSlow | Refusal::NoRoom => Refusal::Maintenance,
        other => other,
    }
}

/// Says that it is no answer of the route's own, and nothing to be kept.
fn marked(mut response: Response<Answer>) -> Response<Answer> {
    let headers = response.headers_mut();
    headers.insert(MAINTENANCE_MODE, HeaderValue::from_static("true"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
