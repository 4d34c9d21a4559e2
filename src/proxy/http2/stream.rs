//! The life of a stream: its request goes to a backend, and the response comes back.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::header::{CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;

use crate::proxy::client::stream_tunnel::StreamTunnel;
use crate::proxy::http2::pump::Pump;
use crate::proxy::http2::request_head::{MalformedHead, StreamRequest, TunnelRequest};
use crate::proxy::http2::stream_share::{StreamEntry, StreamShare};
use crate::proxy::http2::{request_head, response_head};
use crate::proxy::request::expect::{Expectation, expectation};
use crate::proxy::request::forward::{forward, refuse_malformed};
use crate::proxy::response::body::ProxyBody;

/// Carries a request to its backend and the response back, until both have ended or the client resets the stream. The future of an async
/// fn would hold the request twice.
pub(super) fn carry(
    share: Rc<StreamShare>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> impl Future<Output = ()> {
    let length = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let (is_head, has_body) = (request.method() == Method::HEAD, !request.body().is_end_stream());
    let mut request = request_head::translate(request, has_body);
    async move {
        let Ok(entry) = share.enter(has_body, length).await else {
            // Nothing was done with the request: the client may send it again.
            return respond.send_reset(Reason::REFUSED_STREAM);
        };
        let is_cancelled = match answer(&entry, &mut request, has_body, &mut respond).await {
            AnswerEnd::Response(response) => {
                let is_opened = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                match request.ok().and_then(|request| request.tunnel).filter(|_| is_opened) {
                    Some(tunnel) => !open_tunnel(&entry, tunnel, response, &mut respond).await,
                    None => !pass_on(&entry, response, is_head, &mut respond).await,
                }
            }
            AnswerEnd::Closed => {
                respond.send_reset(Reason::CANCEL);
                false
            }
            AnswerEnd::Cancelled => true,
        };
        share.ended(is_cancelled);
    }
}

/// The way in which a request was answered.
enum AnswerEnd {
    Response(Response<ProxyBody>),
    /// There is no answer.
    Closed,
    /// The client reset the stream.
    Cancelled,
}

/// Waits for the response to a request. Interim responses are sent meanwhile.
async fn answer(
    entry: &StreamEntry,
    request: &mut Result<StreamRequest, Box<MalformedHead>>,
    has_body: bool,
    respond: &mut SendResponse<Bytes>,
) -> AnswerEnd {
    let (worker, client) = (&entry.share.worker, &entry.client);
    let request = match request {
        Ok(translated) => &mut translated.request,
        Err(malformed) => {
            return AnswerEnd::Response(refuse_malformed(worker, client, &malformed.head, false, malformed.refusal));
        }
    };
    // Windows bound what the client sends then, so it need not wait until the backend wants it.
    let mut asks = has_body && expectation(request.headers()) == Expectation::Continue;
    let mut forwarded = pin!(forward(worker, client, request));
    poll_fn(|cx| {
        if let Poll::Ready(answered) = forwarded.as_mut().poll(cx) {
            return Poll::Ready(answered.map_or(AnswerEnd::Closed, AnswerEnd::Response));
        }
        if respond.poll_reset(cx).is_ready() {
            return Poll::Ready(AnswerEnd::Cancelled);
        }
        if std::mem::take(&mut asks) {
            let mut head = Response::new(());
            *head.status_mut() = StatusCode::CONTINUE;
            let _ = respond.send_informational(head);
        }
        if let Some(heads) = entry.client.state.take_interim() {
            // A stream that has ended is noticed above.
            for head in response_head::interim(&heads) {
                let _ = respond.send_informational(head);
            }
        }
        Poll::Pending
    })
    .await
}

/// Sends a response. Returns false if the client reset the stream first.
async fn pass_on(
    entry: &StreamEntry,
    response: Response<ProxyBody>,
    is_head: bool,
    respond: &mut SendResponse<Bytes>,
) -> bool {
    let (mut head, body) = response.into_parts();
    response_head::adapt(&mut head, &body, &entry.share.date);
    let ends = is_head || body.is_end_stream();
    let Ok(stream) = respond.send_response(Response::from_parts(head, ()), ends) else { return false };
    if ends {
        return true;
    }
    let mut pump = Pump::new(entry, body, stream);
    poll_fn(|cx| pump.poll(cx)).await
}

/// Opens the tunnel that a backend has agreed to, and waits until it ends. Returns false if the client reset the stream first.
async fn open_tunnel(
    entry: &StreamEntry,
    tunnel: TunnelRequest,
    response: Response<ProxyBody>,
    respond: &mut SendResponse<Bytes>,
) -> bool {
    let (mut head, body) = response.into_parts();
    response_head::adapt(&mut head, &body, &entry.share.date);
    // The stream says by its status that the protocol has changed (RFC 8441 §5).
    head.status = StatusCode::OK;
    head.headers.remove(SEC_WEBSOCKET_ACCEPT);
    let Ok(stream) = respond.send_response(Response::from_parts(head, ()), false) else { return false };
    let (side, ended) = StreamTunnel::new(tunnel.received, stream);
    // If nobody takes it, the worker ends.
    let _ = tunnel.opening.send(side);
    // The sender is dropped with the tunnel.
    let _ = ended.await;
    true
}
