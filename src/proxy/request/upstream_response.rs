//! A backend's response on its way to becoming the client's.
//!
//! Invariants: the fields about length and connection are true of the response that the client gets.

use std::rc::Rc;

use http::header::{ALT_SVC, HeaderMap, HeaderValue, STRICT_TRANSPORT_SECURITY};
use http::{Method, Response, StatusCode, Version};

use crate::memory_budget::MemoryShare;
use crate::proxy::context::request::{CallStatus, RequestContext, RequestOutcome};
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::upstream_request::UpstreamRequest;
use crate::proxy::response::body::ProxyBody;
use crate::proxy::response::compressed::encoder_bytes;
use crate::proxy::response::event_end::{EventStreamEnd, streams_events};
use crate::proxy::response::streamed::StreamedBody;
use crate::proxy::response::tunnel;
use crate::proxy::upstream::upstream_conn::UpstreamConn;
use crate::traffic::{
    CompressionPlan, ContentCoding, Endpoint, PrefixMapping, challenges_connection, edit_response, grpc_status,
    has_grpc_type, is_only_chunked, plan_compression, restore_prefix,
};

impl UpstreamRequest<'_> {
    /// Turns the backend's response into the response to the client, or opens a tunnel.
    ///
    /// # Errors
    /// If the response cannot be passed on.
    pub(crate) fn respond(
        &mut self,
        worker: &Rc<WorkerContext>,
        mut context: Box<RequestContext>,
        endpoint: &Endpoint,
        mut upstream: UpstreamConn,
        mut response: Response<()>,
    ) -> Result<Response<ProxyBody>, Refusal> {
        let is_upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        // A backend asks for the body before it changes protocols (RFC 9110 §7.8).
        let is_held = self.body.is_held();
        if !is_only_chunked(response.headers()) || (is_upgraded && (is_held || self.upgrade.is_none())) {
            // A connection whose body is held back would never end.
            self.body.abandon();
            context.finish(RequestOutcome::Refused(Refusal::BadGateway));
            return Err(Refusal::BadGateway);
        }
        if self.logs_in || challenges_connection(response.headers()) {
            upstream.bind();
        }
        self.body.forget();
        let silence_max = endpoint.options().stream_idle_timeout;
        self.client.state.may_be_silent_for(silence_max);
        self.restore_prefix(response.headers_mut(), endpoint);
        if let Some(keep_alive) = edit_response(response.headers_mut(), &endpoint.settings, is_upgraded) {
            upstream.heed(&keep_alive);
        }
        if let Some(hsts) = endpoint.options().hsts.as_ref().filter(|_| self.is_secure) {
            response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts.clone());
        }
        if let Some(alt_svc) = self.announcement(worker, endpoint) {
            response.headers_mut().entry(ALT_SVC).or_insert_with(|| alt_svc.clone());
        }
        *response.version_mut() = Version::HTTP_11;
        let (status, call) = (response.status(), self.call_status(&response, upstream.is_end_stream()));
        let is_endless = upstream.size_hint().exact().is_none();
        context.responded(status, call, upstream);
        if let Some((protocol, client)) = self.upgrade.take().filter(|_| is_upgraded) {
            let backend = context.open_tunnel().ok_or(Refusal::BadGateway)?;
            // No further head follows on the connection.
            self.client.state.heads().lose();
            let ends = (client, backend);
            tunnel::open(worker, &self.client.peer, ends, (silence_max, protocol.is_websocket()), context);
            return Ok(response.map(|()| ProxyBody::Whole(None)));
        }
        let ending = (is_endless && streams_events(response.headers()))
            .then(|| EventStreamEnd::new(worker.long_streams.enter(), response.headers()));
        let compression = compression(worker, endpoint, &self.method, self.coding, &mut response);
        Ok(response.map(|()| ProxyBody::of_backend(StreamedBody::new(context, ending), compression)))
    }

    /// Returns the field that announces HTTP/3, for clients that speak TLS with this server.
    fn announcement<'w>(&self, worker: &'w WorkerContext, endpoint: &Endpoint) -> Option<&'w HeaderValue> {
        let alt_svc = worker.settings.alt_svc.as_ref()?;
        Some(alt_svc).filter(|_| self.client.tls.is_some() && endpoint.options().http3)
    }

    /// Returns what the head of a response says of the status of a gRPC call. Only a head that `is_all` of the response has the last word.
    fn call_status(&self, response: &Response<()>, is_all: bool) -> CallStatus {
        if self.grpc.is_none() || !has_grpc_type(response.headers()) {
            return CallStatus::NoCall;
        }
        let told = grpc_status(response.headers());
        let known = told.filter(|_| is_all);
        known.map_or(CallStatus::Awaited(told), CallStatus::Known)
    }

    /// Makes the backend's references to itself lead through its route.
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

/// Returns the plan for the compression of a response, whose head is edited to say so. Returns `None` if the response stays as
/// it is, also because there is no memory for an encoder.
fn compression(
    worker: &WorkerContext,
    endpoint: &Endpoint,
    method: &Method,
    wanted: Option<ContentCoding>,
    response: &mut Response<()>,
) -> Option<(CompressionPlan, MemoryShare)> {
    if !endpoint.options().compression {
        return None;
    }
    let share = wanted.and_then(|coding| worker.settings.memory.take_optional(encoder_bytes(coding, None)).ok());
    let status = response.status();
    endpoint.live.note_etag(response.headers());
    let plan = plan_compression(method, wanted.filter(|_| share.is_some()), status, response.headers_mut())?;
    share.map(|share| (plan, share))
}
