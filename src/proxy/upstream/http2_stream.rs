//! A stream on an HTTP/2 connection to a backend, while one request has it.
//!
//! Invariants: a stream that is dropped before its end is reset with `CANCEL`; its end says nothing of the connection, and the end of
//! the connection says whether the backend can have processed the request.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::{Request, Response, StatusCode};
use http_body::{Frame, SizeHint};

use crate::http2::{stream_head, wants_http1};
use crate::proxy::body_error::BodyError;
use crate::proxy::upstream::http2_body::Http2Body;
use crate::proxy::upstream::http2_pool::StreamPlace;
use crate::proxy::upstream::http2_upload::{Http2Upload, UploadEnd};
use crate::proxy::upstream::request_body::RequestBody;
use crate::proxy::upstream::send_error::SendError;
use crate::proxy::upstream::upload_task::UploadTask;
use crate::traffic::AttemptFailure;

/// A stream on an HTTP/2 connection, while one request has it.
pub(crate) struct Http2Stream {
    place: Rc<StreamPlace>,
    is_tls: bool,
    // The task of a body that is still under way after the head of the response.
    upload: Option<UploadTask>,
    // The body of the response, after its head.
    body: Option<Http2Body>,
}

/// The most interim responses before the response; a backend that sends more is broken.
const INTERIM_MAX: usize = 32;

impl Http2Stream {
    pub(crate) fn new(place: StreamPlace, is_tls: bool) -> Self {
        Self { place: Rc::new(place), is_tls, upload: None, body: None }
    }

    /// Sends a request and waits for the head of its response. Interim heads go to `interim`.
    pub(crate) async fn send(
        &mut self,
        request: Request<RequestBody>,
        interim: impl Fn(&[u8]),
    ) -> Result<Response<()>, SendError> {
        let mut sender = self.place.sender();
        let ready = poll_fn(|cx| Poll::Ready(sender.poll_ready(cx))).await;
        if matches!(ready, Poll::Ready(Ok(()))) {
            let (head, body) = request.into_parts();
            let request = stream_head(head, self.is_tls).ok_or(AttemptFailure::Other)?;
            let has_body = body.sending().is_some();
            // The connection may have ended since; then nothing was sent.
            let sent = sender.send_request(request, !has_body).map_err(|_| AttemptFailure::Refused)?;
            let upload = has_body.then(|| Http2Upload::new(sent.1, body.clone()));
            let response = self.await_head(sent.0, upload, &body, interim).await?;
            let (head, stream) = response.into_parts();
            self.body = Some(Http2Body::new(stream, &head.headers, Rc::clone(&self.place)));
            return Ok(Response::from_parts(head, ()));
        }
        let refused = match &ready {
            Poll::Ready(Err(error)) => self.requires_http1(error),
            _ => None,
        };
        Err(refused.unwrap_or(AttemptFailure::Unsent).into())
    }

    /// Reads the next frame of the response.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.body.as_mut().map_or(Poll::Ready(None), |body| body.poll(cx))
    }

    /// True if the response has ended.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Http2Body::is_end_stream)
    }

    /// Returns the bytes of the response that are still to come, as far as they are known.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Http2Body::size_hint)
    }

    async fn await_head(
        &mut self,
        mut response: ResponseFuture,
        mut upload: Option<Http2Upload>,
        body: &RequestBody,
        interim: impl Fn(&[u8]),
    ) -> Result<Response<RecvStream>, SendError> {
        let mut interims = 0;
        let head = poll_fn(|cx| {
            if let Some(Poll::Ready(ended)) = upload.as_mut().map(|upload| upload.poll(cx)) {
                upload = None;
                if ended == UploadEnd::Broken {
                    return Poll::Ready(Err(SendError::from(AttemptFailure::Other)));
                }
            }
            while let Poll::Ready(Some(head)) = poll_interim(&mut response, cx) {
                self.place.note_heard();
                interims += 1;
                if interims > INTERIM_MAX {
                    return Poll::Ready(Err(SendError::from(AttemptFailure::Other)));
                }
                if head.status() == StatusCode::CONTINUE {
                    body.open_gate();
                } else {
                    interim(&written(&head));
                }
            }
            Pin::new(&mut response).poll(cx).map_err(|error| SendError::from(self.failure(&error)))
        })
        .await?;
        self.place.note_heard();
        if let Some(mut upload) = upload {
            self.upload = Some(UploadTask::spawn(async move {
                poll_fn(|cx| upload.poll(cx)).await;
            }));
        }
        Ok(head)
    }

    /// Returns the failure of a request that ended without a response (RFC 9113 §8.7).
    fn failure(&self, error: &h2::Error) -> AttemptFailure {
        if let Some(failure) = self.requires_http1(error) {
            return failure;
        }
        let is_refused = error.is_remote()
            && (error.is_go_away() || (error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM)));
        let has_died = !error.is_reset() && self.place.is_reused();
        if is_refused {
            self.place.retire();
        }
        match (is_refused, has_died) {
            (true, _) => AttemptFailure::Refused,
            (false, true) => AttemptFailure::PooledDied,
            (false, false) => AttemptFailure::Other,
        }
    }

    /// Returns the failure if the backend has said that it wants HTTP/1.1. Its connection gets no further stream then.
    fn requires_http1(&self, error: &h2::Error) -> Option<AttemptFailure> {
        wants_http1(error).then(|| {
            self.place.retire();
            AttemptFailure::Http1Required { is_possible: self.is_tls }
        })
    }
}

/// Returns the next interim head. Errors come with the response.
fn poll_interim(response: &mut ResponseFuture, cx: &mut Context<'_>) -> Poll<Option<Response<()>>> {
    response.poll_informational(cx).map(|head| head.and_then(Result::ok))
}

/// Returns an interim head as HTTP/1.1 writes it.
fn written(head: &Response<()>) -> Vec<u8> {
    let status = head.status();
    let mut text = format!("HTTP/1.1 {} {}\r\n", status.as_str(), status.canonical_reason().unwrap_or("")).into_bytes();
    for (name, value) in head.headers() {
        text.extend([name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    text.extend(b"\r\n");
    text
}
