//! A backend's response on its way to becoming the client's.
//!
//! What must hold: what a response says of its own length and connection is true of the one that the client gets.

use std::rc::Rc;

use http::header::HeaderMap;
use http::{Method, Response, StatusCode, Version};
use hyper::body::Incoming;

use crate::memory_budget::MemoryShare;
use crate::proxy::context::stats::Account;
use crate::proxy::listener::worker::Worker;
use crate::proxy::request::forward::Client;
use crate::proxy::request::upstream_request::Errand;
use crate::proxy::response::body::Answer;
use crate::proxy::response::body::Streamed;
use crate::proxy::response::compressed::encoder_bytes;
use crate::proxy::response::pages::Refusal;
use crate::proxy::response::tunnel;
use crate::proxy::upstream::conn::Upstream;
use crate::traffic::{
    CompressionPlan, ContentCoding, Endpoint, PrefixMapping, challenges_connection, edit_response, is_only_chunked,
    plan_compression, restore_prefix,
};

impl Errand<'_> {
    /// Makes the backend's response one for the client.
    pub(crate) fn answer(
        self,
        worker: &Rc<Worker>,
        client: &Rc<Client>,
        endpoint: &Endpoint,
        mut account: Account,
        mut upstream: Upstream,
        mut response: Response<Incoming>,
    ) -> Result<Response<Answer>, Refusal> {
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        // Before a protocol is changed, the body is asked for (RFC 9110 §7.8).
        let held = self.body.sending().is_some_and(|sending| sending.gate().is_some());
        if !is_only_chunked(response.headers()) || (upgraded && (held || self.upgrade.is_none())) {
            // A connection whose body is held back would never end.
            self.body.abandon();
            account.give_up(Refusal::BadGateway);
            return Err(Refusal::BadGateway);
        }
        if self.logs_in || challenges_connection(response.headers()) {
            upstream.bind();
        }
        self.body.forget();
        account.answered(response.status());
        client.phase.may_be_silent_for(endpoint.options().stream_idle_timeout);
        self.restore_prefix(response.headers_mut(), endpoint);
        if let Some(keep_alive) = edit_response(response.headers_mut(), &endpoint.settings, upgraded) {
            upstream.heed(&keep_alive);
        }
        *response.version_mut() = Version::HTTP_11;
        if let Some((_, client)) = self.upgrade.filter(|_| upgraded) {
            upstream.tunnel();
            // No head comes any more.
            self.client.phase.heads().lose();
            let ends = (client, hyper::upgrade::on(&mut response));
            tunnel::open(worker, &self.client.arrival, ends, endpoint.options().stream_idle_timeout, account);
            return Ok(response.map(|_| Answer::Whole(None)));
        }
        let recoding = recoding(worker, endpoint, &self.method, self.coding, &mut response);
        let stream = |body| Streamed::new(body, upstream, account, Rc::clone(worker), Rc::clone(client));
        Ok(response.map(|body| Answer::passing(stream(body), recoding)))
    }

    /// Makes the backend's references to itself ones that lead there through its route.
    fn restore_prefix(&self, headers: &mut HeaderMap, endpoint: &Endpoint) {
        if endpoint.options().restore_prefix
            && let Some(prefix) = endpoint.stripped()
        {
            let (base, authority) = (endpoint.backend().base(), endpoint.backend().authority());
            let host = self.host.as_ref().and_then(|host| host.to_str().ok());
            restore_prefix(headers, PrefixMapping { prefix, base, authority, host });
        }
    }
}

/// True if an endpoint compresses a response, and how; its head then says so. With no memory for an encoder it stays as it is.
fn recoding(
    worker: &Worker,
    endpoint: &Endpoint,
    method: &Method,
    wanted: Option<ContentCoding>,
    response: &mut Response<Incoming>,
) -> Option<(CompressionPlan, MemoryShare)> {
    if !endpoint.options().compression {
        return None;
    }
    let share = wanted.and_then(|coding| worker.settings.memory.take_optional(encoder_bytes(coding, None)).ok());
    let status = response.status();
    endpoint.live.note_etag(response.headers());
    let recoding = plan_compression(method, wanted.filter(|_| share.is_some()), status, response.headers_mut())?;
    share.map(|share| (recoding, share))
}
