//! A backend's response body on its way to the client, frame by frame.
//!
//! Invariants: a frame is asked for only when the client can take it, so a body of any size needs the memory of a
//! few frames.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};

use crate::proxy::body_error::BodyError;
use crate::proxy::context::request::RequestContext;
use crate::proxy::response::event_end::EventStreamEnd;

/// A backend's response body under way.
pub(crate) struct StreamedBody {
    context: Box<RequestContext>,
    // The error that broke the body off. The client learns of it once all that came before is written.
    broken: Option<BodyError>,
    // The end of an event stream. It is boxed because it is rare.
    ending: Option<Box<EventStreamEnd>>,
}

impl StreamedBody {
    /// Returns the body of a response to the request of `context`. With `ending` it ends when the server asks event streams to end.
    pub(crate) fn new(mut context: Box<RequestContext>, ending: Option<EventStreamEnd>) -> Self {
        context.begin_response();
        Self { context, broken: None, ending: ending.map(Box::new) }
    }

    /// Returns the next frame, or how the body ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if self.ending.as_mut().is_some_and(|ending| ending.ends_here(cx)) {
            self.context.ends_early();
            return Poll::Ready(None);
        }
        match ready!(self.context.poll_response(cx)) {
            Some(Err(error)) => self.break_off(error, cx),
            Some(Ok(frame)) => Poll::Ready(Some(Ok(match &mut self.ending {
                None => frame,
                Some(ending) => ending.pass(frame),
            }))),
            None => Poll::Ready(None),
        }
    }

    /// Holds an error back for one turn: hyper drops the head and the bytes that it has not written when it meets an error.
    fn break_off<T>(&mut self, error: BodyError, cx: &mut Context<'_>) -> Poll<T> {
        self.context.broke_off();
        self.broken = Some(error);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Counts a frame that goes to the client.
    pub(crate) fn count(&mut self, frame: &Frame<Bytes>) {
        self.context.count_bytes(0, frame.data_ref().map_or(0, |data| data.remaining() as u64));
    }

    /// True if no further frame comes.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| ending.is_over()) || self.context.is_end_stream()
    }

    /// Returns the number of bytes that are at hand, as far as it is known.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.context.ready_bytes()
    }

    /// Returns the length of the rest, as far as it is known.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.context.size_hint()
    }
}
