//! A request's life, from its head to the head of its answer.
//!
//! [`carry`] reads like the table in the design: look, match, admit, pick, rewrite, send, judge, answer. Each step's
//! decision is made in `traffic`; here they are put in order. What follows the head is in `body` and `tunnel`.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Version};
use hyper::body::{Body as _, Incoming};

use crate::domain::{AboveRoot, RequestPath, Time};
use crate::proxy::Unmatched;
use crate::proxy::client::conn_state::Phase;
use crate::proxy::client::conn_state::Stage;
use crate::proxy::client::framing::BodyLength;
use crate::proxy::client::framing::Garbled;
use crate::proxy::context::breaker_guard::Case;
use crate::proxy::listener::worker::Worker;
use crate::proxy::request::admission as gate;
use crate::proxy::request::admission::Aside;
use crate::proxy::request::expect;
use crate::proxy::request::expect::Expectation;
use crate::proxy::request::maintenance as standin;
use crate::proxy::request::upstream_request::Errand;
use crate::proxy::request::upstream_request::Failed;
use crate::proxy::response::body::Answer;
use crate::proxy::response::pages::Refusal;
use crate::proxy::upstream::conn::Upstream;
use crate::proxy::upstream::logins::Logins;
use crate::traffic::{
    AttemptFailure, NoEndpoint, Peer, Pool, SelectionInput, client_address, is_only_chunked, is_routing_loop,
    request_host,
};
use crate::{clock, sockets};

/// Whose requests they are: one connection.
pub(crate) struct Client {
    pub(crate) arrival: Peer,
    pub(crate) phase: Arc<Phase>,
    pub(crate) logins: Logins,
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed without an answer")]
pub(crate) struct Hangup;

/// Answers a request: with what a backend says, or with a page that says why not.
pub(crate) async fn forward(
    worker: Rc<Worker>,
    client: Rc<Client>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Hangup> {
    let length = body_length(request.body());
    let framed = client.phase.request(length);
    let (method, old) = (request.method().clone(), request.version() == Version::HTTP_10);
    let told = request.headers().get(ACCEPT).filter(|_| !client.phase.keeps_head()).cloned();
    let mut aside = Aside::default();
    let carried = match framed {
        Ok(()) => carry(&worker, &client, request, &mut aside).await,
        Err(Garbled) => Err(Refusal::BadRequest),
    };
    let mut answer = match carried {
        Ok(response) => {
            client.phase.enter(Stage::Answering);
            response
        }
        Err(Refusal::Unmatched) if worker.settings.unmatched == Unmatched::Close => return Err(Hangup),
        Err(refusal) => {
            let kept = client.phase.field(&method, ACCEPT.as_str()).flatten();
            let accept = kept.as_deref().or(told.as_ref().map(HeaderValue::as_bytes)).unwrap_or_default();
            // Behind a refused CONNECT there may be bytes for the other side.
            if length != BodyLength::None || method == Method::CONNECT {
                client.phase.linger();
            }
            let own = match &aside.page {
                Some((session, url)) => worker.maintenance_pages.page(*session, url).await,
                None => None,
            };
            client.phase.answered();
            own.map_or_else(|| refusal.page(accept), |html| refusal.own_page(html))
        }
    };
    aside.tell(answer.headers_mut());
    if old && tell_old_client(&mut answer) {
        client.phase.ends_with_answer();
    }
    Ok(answer)
}

/// An HTTP/1.0 client knows the end of an answer without a length by the end of the connection alone. Otherwise hyper tells it the
/// fate of the connection that it asked for. Returns true for an answer without a length.
fn tell_old_client(answer: &mut Response<Answer>) -> bool {
    let fields = answer.headers();
    let has_length = fields.contains_key(CONTENT_LENGTH) || answer.body().size_hint().exact().is_some();
    if !has_length || fields.contains_key(CONNECTION) {
        // hyper keeps no connection behind an answer of this version.
        *answer.version_mut() = Version::HTTP_10;
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    !has_length
}

fn body_length(body: &Incoming) -> BodyLength {
    match body.size_hint().exact() {
        _ if body.is_end_stream() => BodyLength::None,
        Some(bytes) => BodyLength::Known(bytes),
        None => BodyLength::Chunked,
    }
}

async fn carry(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    mut request: Request<Incoming>,
    aside: &mut Aside,
) -> Result<Response<Answer>, Refusal> {
    let began = clock::instant();
    check(&request, &client.phase)?;
    let table = worker.table();
    settle_target(&mut request)?;
    let spelled = settle_path(&mut request)?;
    let path = spelled.as_deref().unwrap_or_else(|| request.uri().path());
    let pool = table.find(&told_host(&request)?, path).ok_or(Refusal::Unmatched)?;
    let carried = carry_within(worker, client, request, pool, aside, began).await;
    if carried.is_err() && aside.refused_for.is_none() {
        aside.refused_for = pool.members().first().cloned();
    }
    carried
}

async fn carry_within(
    worker: &Rc<Worker>,
    client: &Rc<Client>,
    request: Request<Incoming>,
    pool: &Pool,
    aside: &mut Aside,
    began: Instant,
) -> Result<Response<Answer>, Refusal> {
    let address = client_address(request.headers(), &client.arrival, &worker.settings.trusted_proxies);
    if let Err(refusal) = gate::admit(worker, pool, address, began, aside) {
        let Refusal::Maintenance = refusal else { return Err(refusal) };
        let errand = Errand::new(client, address, request);
        // Boxed: rare, and the requests of others should be small.
        return Box::pin(standin::answer(worker, client, pool, errand, began, aside)).await;
    }
    worker.budget.borrow_mut().earn();
    let mut errand = Errand::new(client, address, request);
    let mut tried = Tried::default();
    let mut now = clock::at(began);
    loop {
        let place = match tried.choose(client, pool, now, || errand.draw(worker, pool)) {
            Ok(place) => place,
            // Who tried was counted then.
            Err(_) if let Some(failed) = tried.refusal => return Err(failed),
            Err(NoEndpoint::Maintenance) => {
                return Box::pin(standin::answer(worker, client, pool, errand, began, aside)).await;
            }
            Err(nobody) => return Err(aside.refusing(worker, pool, gate::refusal(nobody, now))),
        };
        // Places are those of members.
        let endpoint = pool.members().get(place).ok_or(Refusal::BadGateway)?;
        if let Err(refusal) = errand.admit(endpoint) {
            gate::count(worker, endpoint, refusal);
            aside.refused_for = Some(Arc::clone(endpoint));
            return Err(refusal);
        }
        let Some(mut case) = Case::open(worker, endpoint, now) else { continue };
        let account = errand.account(worker, endpoint, began);
        let failed = match Upstream::get(worker, client, endpoint, errand.needs_fresh()).await {
            Ok(upstream) => match errand.send(worker, upstream, endpoint).await {
                Ok((upstream, response)) => {
                    let answer = errand.answer(worker, client, endpoint, account, upstream, response);
                    case.answered(answer.as_ref().map_or(StatusCode::BAD_GATEWAY, Response::status));
                    return answer;
                }
                Err(failed) => failed,
            },
            Err(unreachable) => {
                tracing::debug!(route = %endpoint.id(), backend = %endpoint.backend(), %unreachable, "no connection");
                if unreachable.lacks_resources() {
                    sockets::warn_used_up();
                    Failed { failure: AttemptFailure::NoRoom, refusal: Refusal::NoRoom }
                } else {
                    Failed { failure: AttemptFailure::Connect, refusal: Refusal::BadGateway }
                }
            }
        };
        let again = tried.leaves_some(pool, place, &failed) && errand.may_retry(worker, endpoint, failed.failure);
        account.try_failed(&failed, again);
        case.failed(&failed, again);
        if !again {
            aside.refused_for = Some(Arc::clone(endpoint));
            return Err(failed.refusal);
        }
        now = clock::now();
    }
}

/// What was tried for a request in vain.
#[derive(Default)]
struct Tried {
    places: Vec<usize>,
    // Of the last of them, when only a connection of it was dead: good for another try if no other member is.
    spared: Option<usize>,
    refusal: Option<Refusal>,
}

impl Tried {
    /// The next member to try: the one where the client is logged in, then another one, or else one of which only a
    /// connection was dead.
    fn choose(
        &mut self,
        client: &Client,
        pool: &Pool,
        now: Time,
        draw: impl Fn() -> SelectionInput,
    ) -> Result<usize, NoEndpoint> {
        if self.places.is_empty()
            && let Some(place) = client.logins.place(pool, now)
        {
            return Ok(place);
        }
        let mut chosen = pool.select(now, &self.places, &draw);
        if chosen.is_err()
            && let Some(spared) = self.spared.take()
        {
            self.places.retain(|place| *place != spared);
            chosen = pool.select(now, &self.places, &draw);
        }
        chosen
    }

    /// Takes down a failure. Whether there can be anybody left to try.
    fn leaves_some(&mut self, pool: &Pool, place: usize, failed: &Failed) -> bool {
        self.places.push(place);
        self.spared = (failed.failure != AttemptFailure::Connect).then_some(place);
        self.refusal = Some(failed.refusal);
        self.spared.is_some() || self.places.len() < pool.members().len()
    }
}

/// Refuses what is for no backend, or could be read in two ways by two readers (RFC 9112 §3.2, §6.1).
fn check(request: &Request<Incoming>, phase: &Phase) -> Result<(), Refusal> {
    let headers = request.headers();
    if [Method::CONNECT, Method::TRACE].contains(request.method()) {
        return Err(Refusal::Method);
    }
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Err(Refusal::BadRequest);
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        // Where the head was not kept, hyper has closed the connection behind the answer, as RFC 9112 §6.1 asks for.
        if let Some(Some(_)) = phase.field(request.method(), CONTENT_LENGTH.as_str()) {
            return Err(Refusal::BadRequest);
        }
        if !is_only_chunked(headers) {
            return Err(Refusal::UnknownCoding);
        }
    }
    if is_routing_loop(headers) {
        return Err(Refusal::Loop);
    }
    // HTTP/1.0 has no expectations: they are ignored.
    if request.version() == Version::HTTP_11 && expect::of(headers) == Expectation::Unknown {
        return Err(Refusal::Expectation);
    }
    Ok(())
}

/// Where the target is a whole URL, its host is the request's, also for the backend (RFC 9112 §3.2.2). A host alone is only for
/// `CONNECT`, and `*` only for `OPTIONS` (§3.2.3, §3.2.4).
fn settle_target(request: &mut Request<Incoming>) -> Result<(), Refusal> {
    if request.uri().path() == "*" && request.method() != Method::OPTIONS {
        return Err(Refusal::BadRequest);
    }
    let Some(authority) = request.uri().authority() else { return Ok(()) };
    if request.uri().scheme().is_none() {
        return Err(Refusal::BadRequest);
    }
    let host = HeaderValue::try_from(authority.as_str()).map_err(|_| Refusal::BadRequest)?;
    let target = request.uri().path_and_query().cloned();
    request.headers_mut().insert(HOST, host);
    *request.uri_mut() = target.unwrap_or(PathAndQuery::from_static("/")).into();
    Ok(())
}

/// Takes dot segments out of the path. Gives the path in the spelling that is matched, where that is another.
fn settle_path(request: &mut Request<Incoming>) -> Result<Option<String>, Refusal> {
    let uri = request.uri();
    let read = RequestPath::read(uri.path()).map_err(|AboveRoot| Refusal::BadRequest)?;
    let Cow::Owned(matched) = read.matched else { return Ok(None) };
    if let Some(path) = read.passed {
        let target = match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        *request.uri_mut() = PathAndQuery::try_from(target).map_err(|_| Refusal::BadRequest)?.into();
    }
    Ok(Some(matched))
}

/// The host a request is for; empty where HTTP/1.0 named none.
fn told_host(request: &Request<Incoming>) -> Result<Cow<'_, str>, Refusal> {
    let field = request.headers().get(HOST).map_or(Ok(""), HeaderValue::to_str);
    field.ok().and_then(request_host).ok_or(Refusal::BadRequest)
}
