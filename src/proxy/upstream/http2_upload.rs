//! A request body on its way into an HTTP/2 stream.
//!
//! Invariants: a frame is asked for only when the backend has a window for it; a body that breaks off never ends as if it were whole.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use crate::proxy::upstream::request_body::RequestBody;

/// A request body and the stream that it goes into.
pub(super) struct Http2Upload {
    stream: SendStream<Bytes>,
    body: RequestBody,
}

/// The end of an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UploadEnd {
    /// All was sent, or the backend takes no more.
    Done,
    /// The body broke off or is not wanted any more, and the stream was reset.
    Broken,
}

impl Http2Upload {
    pub(super) fn new(stream: SendStream<Bytes>, body: RequestBody) -> Self {
        Self { stream, body }
    }

    /// Sends what can be sent.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<UploadEnd> {
        loop {
            self.stream.reserve_capacity(1);
            while self.stream.capacity() == 0 {
                if !matches!(ready!(self.stream.poll_capacity(cx)), Some(Ok(_))) {
                    return Poll::Ready(UploadEnd::Done);
                }
            }
            let sent = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(UploadEnd::Broken);
                }
                None => return self.end(Bytes::new()),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if self.body.is_end_stream() => return self.end(data),
                    Ok(data) => self.stream.send_data(data, false),
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) => {
                            let _ = self.stream.send_trailers(trailers);
                            return Poll::Ready(UploadEnd::Done);
                        }
                        Err(_) => Ok(()),
                    },
                },
            };
            if sent.is_err() {
                return Poll::Ready(UploadEnd::Done);
            }
        }
    }

    fn end(&mut self, data: Bytes) -> Poll<UploadEnd> {
        // The response tells what became of the stream.
        let _ = self.stream.send_data(data, true);
        Poll::Ready(UploadEnd::Done)
    }
}
