//! One request on its way: what is sent, what came of it, and what another try would need.
//!
//! The steps that [`crate::proxy::request::forward`] puts in order. What must hold: a request is sent again only if nothing of it
//! can have been processed, and then it is the same request.

use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::{CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::connect::serial;
use crate::proxy::context::stats::Account;
use crate::proxy::listener::worker::Worker;
use crate::proxy::request::expect;
use crate::proxy::request::expect::Expectation;
use crate::proxy::request::forward::Client;
use crate::proxy::response::pages::Refusal;
use crate::proxy::upstream::conn::Upstream;
use crate::proxy::upstream::request_body::RequestBody;
use crate::proxy::upstream::request_body::State;
use crate::traffic::{
    AttemptFailure, ContentCoding, Endpoint, Pool, RequestHop, SelectionInput, Upgrade, accepts_html,
    authenticates_connection, edit_request, may_retry, requested_upgrade, strengthen_etags,
};

/// The time that a body is held back for a backend that does not say whether it wants it.
const CONTINUE_WAIT: Duration = Duration::from_secs(1);

const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// A request on its way to a backend, with what another try would need.
pub(crate) struct Errand<'a> {
    pub(crate) client: &'a Client,
    // `None` while it is being sent.
    request: Option<Request<RequestBody>>,
    pub(crate) body: RequestBody,
    pub(crate) method: Method,
    target: Uri,
    pub(crate) host: Option<HeaderValue>,
    // What a trusted proxy said of a prefix that it took away.
    prefix: Option<HeaderValue>,
    pub(crate) old: bool,
    // Whether it logs its connection in.
    pub(crate) logs_in: bool,
    pub(crate) upgrade: Option<(Upgrade, OnUpgrade)>,
    tries: u32,
    address: IpAddr,
    // What the client wants, where the endpoint compresses.
    pub(crate) coding: Option<ContentCoding>,
    // The client's fields for another try, where they cannot be read again.
    fields: Option<HeaderMap>,
}

/// A try that came to nothing.
pub(crate) struct Failed {
    pub(crate) failure: AttemptFailure,
    pub(crate) refusal: Refusal,
}

impl<'a> Errand<'a> {
    /// Makes the client's request one for a backend, as far as all backends get the same.
    pub(crate) fn new(client: &'a Client, address: IpAddr, mut request: Request<Incoming>) -> Self {
        let old = request.version() == Version::HTTP_10;
        // HTTP/1.0 has none (RFC 9110 §7.8).
        let upgrade = requested_upgrade(request.headers()).filter(|_| !old);
        let upgrade = upgrade.map(|upgrade| (upgrade, hyper::upgrade::on(&mut request)));
        let (head, incoming) = request.into_parts();
        let expects = !old && expect::of(&head.headers) == Expectation::Continue;
        let mut errand = Self {
            client,
            request: None,
            body: RequestBody::new(incoming, expects),
            method: head.method,
            target: head.uri,
            host: head.headers.get(HOST).cloned(),
            prefix: head.headers.get(X_FORWARDED_PREFIX).filter(|_| client.arrival.trusted).cloned(),
            old,
            logs_in: authenticates_connection(&head.headers),
            upgrade,
            tries: 0,
            address,
            coding: None,
            fields: (!client.phase.keeps_head()).then(|| head.headers.clone()),
        };
        errand.dress(head.headers);
        errand
    }

    /// The request to be sent, with the client's fields made a backend's.
    fn dress(&mut self, mut headers: HeaderMap) {
        let upgrade = self.upgrade.as_ref().map(|(upgrade, _)| upgrade);
        if self.old {
            // It means nothing there (RFC 9110 §10.1.1), and would to the backend.
            headers.remove(EXPECT);
        }
        edit_request(
            &mut headers,
            RequestHop { peer: &self.client.arrival, client: self.address, authority: None, upgrade },
        );
        if self.body.sending().is_some_and(|sending| sending.is_chunked()) {
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = headers;
        if let Some(gate) = self.body.sending().and_then(|sending| sending.gate()).cloned() {
            hyper::ext::on_informational(&mut request, move |response| {
                if response.status() == StatusCode::CONTINUE {
                    gate.open();
                }
            });
        }
        self.request = Some(request);
    }

    /// Has the request again after it was sent in vain. Whether it could be had.
    fn redress(&mut self) -> bool {
        self.body.rewind();
        if self.request.is_some() {
            return true;
        }
        let fields = self.fields.clone().or_else(|| self.client.phase.fields(&self.method));
        let Some(mut fields) = fields else { return false };
        if let Some(host) = &self.host {
            fields.insert(HOST, host.clone());
        }
        self.dress(fields);
        true
    }

    pub(crate) fn draw(&self, worker: &Worker, pool: &Pool) -> SelectionInput {
        SelectionInput { chance: worker.chance(), turn: pool.next_turn(worker.id), client: self.address }
    }

    /// True if the client wants to see a page, and not what a page asks for.
    pub(crate) fn looks_for_a_page(&self) -> bool {
        let wanted = || self.request.as_ref().is_some_and(|request| accepts_html(request.headers()));
        [Method::GET, Method::HEAD].contains(&self.method) && wanted()
    }

    /// True if it goes over a new connection: where one idle connection has died, the others may have too.
    pub(crate) fn needs_fresh(&self) -> bool {
        self.tries > 0
    }

    /// What the endpoint's options refuse.
    pub(crate) fn admit(&self, endpoint: &Endpoint) -> Result<(), Refusal> {
        let options = endpoint.options();
        if self.upgrade.is_some() && !options.websocket {
            return Err(Refusal::NoUpgrade);
        }
        if self.body.sending().is_some_and(|sending| sending.exceeds(options.max_body_size)) {
            return Err(Refusal::TooLarge { max: options.max_body_size });
        }
        Ok(())
    }

    pub(crate) fn account(&self, worker: &Worker, endpoint: &Endpoint, began: Instant) -> Account {
        Account::new(endpoint.live.begin_request(worker.id), began, self.body.clone())
    }

    /// Sends the request and waits for the head of the response.
    pub(crate) async fn send(
        &mut self,
        worker: &Worker,
        mut upstream: Upstream,
        endpoint: &Endpoint,
    ) -> Result<(Upstream, Response<Incoming>), Failed> {
        // It is there: only this takes it, and puts it back before another try.
        let mut request = self.request.take().ok_or(Failed::other(Refusal::BadGateway))?;
        if endpoint.options().compression {
            self.coding = ContentCoding::wanted(request.headers());
            if !endpoint.live.has_weak_etags() {
                strengthen_etags(request.headers_mut());
            }
        }
        self.fit(&mut request, endpoint);
        self.body.keep_for_another_try(upstream.is_reused() && self.may_be_resent(endpoint), &worker.settings.memory);
        let starves = upstream.may_starve();
        let sent = self.in_time(
            worker,
            upstream.send(request, |heads| self.pass_interim(heads)),
            endpoint.options().timeout.std(),
        );
        let sent = if starves {
            serial::impatiently(endpoint.origin_hash, serial::PATIENCE, sent).await?
        } else {
            sent.await?
        };
        match sent {
            Ok(response) => Ok((upstream, response)),
            Err(mut error) => {
                let unsent = error.take_message();
                // Its fields as they are: the next endpoint's own go over this one's.
                let failed = self.judge(unsent.is_some(), upstream.has_died());
                self.request = unsent;
                Err(failed)
            }
        }
    }

    /// Interim heads go to the client as they come. HTTP/1.0 has none (RFC 9110 §15.2).
    fn pass_interim(&self, heads: Vec<u8>) {
        if !self.old {
            self.client.phase.pass_interim(heads);
        }
    }

    /// What only this endpoint's backend gets: its target and its host.
    fn fit(&self, request: &mut Request<RequestBody>, endpoint: &Endpoint) {
        let target = self.target.path_and_query().map_or("/", PathAndQuery::as_str);
        if let Some(rewritten) = endpoint.rewrite(target).and_then(|target| Uri::try_from(target).ok()) {
            *request.uri_mut() = rewritten;
        } else if self.tries > 0 {
            *request.uri_mut() = self.target.clone();
        }
        self.set_prefix(request.headers_mut(), endpoint);
        if !endpoint.options().keep_alive && self.upgrade.is_none() {
            let names = if request.headers().contains_key(TE) { "te, close" } else { "close" };
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static(names));
        }
        let own_name = || HeaderValue::try_from(endpoint.backend().authority()).ok();
        match (endpoint.authority(), &self.host) {
            (Some(host), _) => set_host(request.headers_mut(), host.clone()),
            (None, Some(host)) if self.tries > 0 => set_host(request.headers_mut(), host.clone()),
            (None, Some(_)) => {}
            // HTTP/1.0 lets a client name no host; HTTP/1.1 does not let us.
            (None, None) => own_name().into_iter().for_each(|host| set_host(request.headers_mut(), host)),
        }
    }

    /// Says which part of the path the backend does not see, behind what a trusted proxy has taken away before.
    fn set_prefix(&self, headers: &mut HeaderMap, endpoint: &Endpoint) {
        let before = self.prefix.as_ref();
        let own = endpoint.stripped().and_then(|stripped| {
            let before = before.and_then(|before| before.to_str().ok()).unwrap_or_default().trim_end_matches('/');
            HeaderValue::try_from(format!("{before}{stripped}")).ok()
        });
        match own.or_else(|| before.filter(|_| self.tries > 0).cloned()) {
            Some(prefix) => {
                headers.insert(X_FORWARDED_PREFIX, prefix);
            }
            None if self.tries > 0 => {
                headers.remove(X_FORWARDED_PREFIX);
            }
            None => {}
        }
    }

    /// Waits for the head of a response as long as `limit` from the start, or from the last that moved of the
    /// request's body.
    async fn in_time<T>(&self, worker: &Worker, sent: impl Future<Output = T>, limit: Duration) -> Result<T, Failed> {
        let mut sent = pin!(sent);
        let body = self.body.sending();
        let held = || body.and_then(|body| body.gate());
        let first = if held().is_some() { limit.min(CONTINUE_WAIT) } else { limit };
        let (mut due, mut frames) = (self.wake_after(worker, first), 0);
        let answered = poll_fn(|cx| {
            if let Poll::Ready(head) = sent.as_mut().poll(cx) {
                return Poll::Ready(Ok(head));
            }
            if worker.ticks.now() < due {
                return Poll::Pending;
            }
            match body {
                // Backends that know nothing of expectations wait for the body without a word.
                Some(_) if held().is_some() => held().into_iter().for_each(|gate| gate.open()),
                Some(body) if body.frames() > frames => frames = body.frames(),
                Some(body) if body.client_is_slow() => return Poll::Ready(Err(Failed::other(Refusal::ClientTooSlow))),
                _ => return Poll::Ready(Err(Failed::other(Refusal::GatewayTooSlow))),
            }
            due = self.wake_after(worker, limit);
            Poll::Pending
        })
        .await;
        self.client.phase.wake_at(None);
        answered
    }

    /// Has the connection's task woken when `limit` has passed. The tick at which.
    fn wake_after(&self, worker: &Worker, limit: Duration) -> u32 {
        let due = worker.ticks.after(limit);
        self.client.phase.wake_at(Some(due));
        worker.connections.note_due(due);
        due
    }

    fn judge(&self, unsent: bool, died: bool) -> Failed {
        match self.body.sending().map(|sending| (sending.state(), sending.bytes_max())) {
            Some((State::TooLarge, max)) => return Failed::other(Refusal::TooLarge { max }),
            Some((State::Broken, _)) => return Failed::other(Refusal::BadRequest),
            _ => {}
        }
        let failure = match (unsent, died) {
            (true, _) => AttemptFailure::Unsent,
            (false, true) => AttemptFailure::PooledDied,
            (false, false) => AttemptFailure::Other,
        };
        Failed { failure, refusal: Refusal::BadGateway }
    }

    pub(crate) fn may_retry(&mut self, worker: &Worker, endpoint: &Endpoint, failure: AttemptFailure) -> bool {
        self.tries += 1;
        self.tries <= endpoint.options().retries
            && may_retry(failure, self.method.is_idempotent(), self.body.upload())
            && worker.budget.borrow_mut().spend()
            && self.redress()
    }

    /// Says whether it may be sent again once its body was begun.
    fn may_be_resent(&self, endpoint: &Endpoint) -> bool {
        self.tries < endpoint.options().retries && self.method.is_idempotent()
    }
}

impl Failed {
    pub(crate) fn other(refusal: Refusal) -> Self {
        Self { failure: AttemptFailure::Other, refusal }
    }
}

fn set_host(headers: &mut HeaderMap, host: HeaderValue) {
    headers.insert(HOST, host);
}
