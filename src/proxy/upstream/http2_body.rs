//! The body of a backend's response on an HTTP/2 stream.
//!
//! Invariants: the window of an HTTP/2 stream opens again only for bytes that the client has taken, so that no more than a window
//! waits here for a client.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};

use crate::proxy::body_error::BodyError;
use crate::proxy::upstream::http2_pool::StreamPlace;

/// The body of a response on an HTTP/2 stream.
pub(super) struct Http2Body {
    stream: RecvStream,
    place: Rc<StreamPlace>,
    // The bytes of the last frame, for which the window is not open again.
    taken: usize,
    // The number of bytes that are still to come, if the backend has said it.
    left: Option<u64>,
    has_ended: bool,
}

impl Http2Body {
    /// Returns the body of a response with this head.
    pub(super) fn new(stream: RecvStream, headers: &HeaderMap, place: Rc<StreamPlace>) -> Self {
        let has_ended = stream.is_end_stream();
        let length = || headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
        Self { left: if has_ended { Some(0) } else { length() }, stream, place, taken: 0, has_ended }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        if self.taken > 0 {
            // It fails only for more bytes than have come.
            let _ = self.stream.flow_control().release_capacity(std::mem::take(&mut self.taken));
        }
        let polled = match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => {
                self.taken = data.len();
                self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                Ok(Some(Frame::data(data)))
            }
            Some(Err(error)) => Err(error),
            None => ready!(self.stream.poll_trailers(cx)).map(|trailers| trailers.map(Frame::trailers)),
        };
        self.place.note_heard();
        self.has_ended = !matches!(polled, Ok(Some(ref frame)) if frame.is_data());
        Poll::Ready(match polled {
            Ok(frame) => frame.map(Ok),
            // The backend wants no more of the request, and its response was whole (RFC 9113 §8.1).
            Err(error) if error.is_reset() && error.reason() == Some(Reason::NO_ERROR) => None,
            Err(error) => Some(Err(error.into())),
        })
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.has_ended || self.stream.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
