//! The life of a stream: its request goes to a backend, and the response comes back.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use h3::error::{Code, StreamError};
use h3::server::{RequestResolver, RequestStream};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;

use crate::proxy::client::client_body::ClientBody;
use crate::proxy::http2::response_head;
use crate::proxy::http2::stream_share::StreamShare;
use crate::proxy::http3::pace::{StreamPace, WaitEnd};
use crate::proxy::http3::request_body::Http3Body;
use crate::proxy::http3::request_head;
use crate::proxy::http3::response_stream::ResponseStream;
use crate::proxy::http3::transport::{QuicConnection, QuicStream, SendEnd, StreamWatch};
use crate::proxy::http3::unacked::UnackedBytes;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::expect::{Expectation, expectation};
use crate::proxy::request::forward::{forward, refuse_malformed};
use crate::proxy::response::body::ProxyBody;
use crate::proxy::ticks::Ticks;

/// A stream on which a head is to come, with the watch over its response.
pub(super) type NewStream = (RequestResolver<QuicConnection, Bytes>, StreamWatch);

type WholeStream = RequestStream<QuicStream, Bytes>;

/// Carries a request to its backend and the response back, until both have ended or the client gives the stream up.
pub(super) async fn carry(share: Rc<StreamShare>, unacked: Rc<UnackedBytes>, (head, watch): NewStream) {
    let watch = RefCell::new(watch);
    let served = match read_head(&share, head, &watch).await {
        Ok((request, stream)) => serve(&share, &unacked, request, stream, &watch).await,
        Err(end) => Err(end),
    };
    share.ended(served == Err(WaitEnd::Cancelled));
}

/// Waits for the head of a request. `h3` answers a head that is too long or malformed.
async fn read_head(
    share: &Rc<StreamShare>,
    head: RequestResolver<QuicConnection, Bytes>,
    watch: &RefCell<StreamWatch>,
) -> Result<(Request<()>, WholeStream), WaitEnd> {
    // A stream without a body draws no memory.
    let Ok(entry) = share.enter(false, None).await else { return Err(WaitEnd::TooLong) };
    let limit = Ticks::steps(share.worker.settings.header_timeout);
    let read = StreamPace { entry: &entry, watch }.wait(limit, head.resolve_request()).await?;
    if let Err(StreamError::HeaderTooBig { .. }) = read {
        let (head, ()) = Request::new(()).into_parts();
        // `h3` has sent an answer of its own.
        drop(refuse_malformed(&share.worker, &entry.client, &head, true, Refusal::HeadTooLarge));
    }
    // A client that sends nothing but faults is taken for one that cancels.
    read.map_err(|_| WaitEnd::Cancelled)
}

async fn serve(
    share: &Rc<StreamShare>,
    unacked: &Rc<UnackedBytes>,
    request: Request<()>,
    stream: WholeStream,
    watch: &RefCell<StreamWatch>,
) -> Result<(), WaitEnd> {
    let (send, recv) = stream.split();
    let mut response = ResponseStream::new(send, unacked.stream());
    let is_head = request.method() == Method::HEAD;
    let (mut head, ()) = request.into_parts();
    let length = request_head::translate(&mut head);
    let has_body = length.as_ref().is_ok_and(|length| *length != Some(0));
    let known = length.as_ref().ok().and_then(|length| usize::try_from((*length)?).ok());
    let Ok(entry) = share.enter(has_body, known).await else {
        // Nothing was done with the request: the client may send it again.
        response.reset(Code::H3_REQUEST_REJECTED);
        return Ok(());
    };
    let pace = StreamPace { entry: &entry, watch };
    let refuse = |head: &Parts, refusal| Some(refuse_malformed(&share.worker, &entry.client, head, true, refusal));
    let answered = match length {
        Err(refusal) => refuse(&head, refusal),
        Ok(length) => {
            let mut body = Http3Body::new(recv, length);
            if let Err(refusal) = begin_body(&pace, &head.method, length, &mut body).await? {
                refuse(&head, refusal)
            } else {
                let request = Request::from_parts(head, ClientBody::Http3(Box::pin(body)));
                answer(&pace, request, &mut response).await?
            }
        }
    };
    match answered {
        Some(answered) => pass_on(&pace, answered, is_head, &mut response).await,
        None => Ok(()),
    }
}

/// Waits, for methods that usually have no body, until it is known if there is one. A backend that gets a body of unknown length with a
/// GET may refuse it.
async fn begin_body(
    pace: &StreamPace<'_>,
    method: &Method,
    length: Option<u64>,
    body: &mut Http3Body,
) -> Result<Result<(), Refusal>, WaitEnd> {
    if length.is_some() || [Method::POST, Method::PUT, Method::PATCH].contains(method) {
        return Ok(Ok(()));
    }
    let limit = Ticks::steps(pace.entry.share.worker.settings.header_timeout);
    match pace.wait(limit, body.look()).await {
        Ok(looked) => Ok(looked.map_err(|_| Refusal::BadRequest)),
        Err(WaitEnd::TooLong) => Ok(Err(Refusal::ClientTooSlow)),
        Err(WaitEnd::Cancelled) => Err(WaitEnd::Cancelled),
    }
}

/// A step of a request under way.
enum AnswerStep {
    Response(Response<ProxyBody>),
    /// Heads that come before the response.
    Interim(Vec<Response<()>>),
    /// There is no answer.
    Closed,
    /// The client does not want it any more.
    Cancelled,
}

/// Waits for the response to a request; `None` if there is none. Interim responses are sent meanwhile.
async fn answer(
    pace: &StreamPace<'_>,
    mut request: Request<ClientBody>,
    response: &mut ResponseStream,
) -> Result<Option<Response<ProxyBody>>, WaitEnd> {
    let entry = pace.entry;
    // Windows bound what the client sends then, so it need not wait until the backend wants it.
    let mut asks = !request.body().is_end_stream() && expectation(request.headers()) == Expectation::Continue;
    let mut forwarded = pin!(forward(&entry.share.worker, &entry.client, &mut request));
    loop {
        let step = poll_fn(|cx| {
            if pace.poll_end(cx) == Poll::Ready(SendEnd::Stopped) {
                return Poll::Ready(AnswerStep::Cancelled);
            }
            match forwarded.as_mut().poll(cx) {
                Poll::Ready(answered) => Poll::Ready(answered.map_or(AnswerStep::Closed, AnswerStep::Response)),
                Poll::Pending if std::mem::take(&mut asks) => Poll::Ready(AnswerStep::Interim(vec![go_on()])),
                Poll::Pending => match entry.client.state.take_interim() {
                    Some(heads) => Poll::Ready(AnswerStep::Interim(response_head::interim(&heads))),
                    None => Poll::Pending,
                },
            }
        })
        .await;
        match step {
            AnswerStep::Response(answered) => return Ok(Some(answered)),
            AnswerStep::Closed => return Ok(None),
            AnswerStep::Cancelled => return Err(WaitEnd::Cancelled),
            AnswerStep::Interim(heads) => {
                for head in heads {
                    response.head(pace, head).await?;
                }
            }
        }
    }
}

fn go_on() -> Response<()> {
    let mut head = Response::new(());
    *head.status_mut() = StatusCode::CONTINUE;
    head
}

/// Sends a response, and waits until the client has received it.
async fn pass_on(
    pace: &StreamPace<'_>,
    answered: Response<ProxyBody>,
    is_head: bool,
    response: &mut ResponseStream,
) -> Result<(), WaitEnd> {
    let (mut head, mut body) = answered.into_parts();
    response_head::adapt(&mut head, &body, &pace.entry.share.date);
    let is_whole = is_head || body.is_end_stream();
    response.head(pace, Response::from_parts(head, ())).await?;
    let silence = pace.entry.client.state.silence_max();
    let mut sent = 0;
    while !is_whole && !body.is_end_stream() {
        pace.wait_for_room().await?;
        let frame = match pace.wait(silence, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Err(WaitEnd::Cancelled) => return Err(WaitEnd::Cancelled),
            Ok(Some(Err(_))) | Err(WaitEnd::TooLong) => {
                response.reset(Code::H3_INTERNAL_ERROR);
                return Ok(());
            }
        };
        match frame.into_data() {
            Ok(data) => {
                sent += data.len();
                response.data(pace, data).await?;
            }
            Err(frame) => {
                response.trailers(pace, frame.into_trailers().unwrap_or_default()).await?;
                break;
            }
        }
        if sent >= TURN_BYTES {
            sent = 0;
            tokio::task::yield_now().await;
        }
    }
    // The end of the response is known now, not only once the client has all of it.
    drop(body);
    response.end(pace).await
}

/// The bytes that a stream sends before others get their turn.
const TURN_BYTES: usize = 64 * 1024;
