//! The body of a request on a stream.
//!
//! Invariants: a body has the length that its head says (RFC 9114 §4.1.2); a part is read only when it is wanted, so that the client sends
//! only a window ahead of the backend.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::server::RequestStream;
use http_body::{Body, Frame, SizeHint};

use crate::proxy::body_error::BodyError;
use crate::proxy::http3::transport::QuicRecv;

/// The body of a request.
pub(super) struct Http3Body {
    stream: RequestStream<QuicRecv, Bytes>,
    // The bytes that are left, if the head says it.
    left: Option<u64>,
    // A part that was read to see if there is one.
    first: Option<Bytes>,
    state: BodyState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyState {
    Data,
    Trailers,
    Ended,
}

/// A body that is longer or shorter than its head says.
#[derive(Debug, thiserror::Error)]
#[error("the body does not have the length that its head says")]
struct WrongLength;

impl Http3Body {
    /// Returns the body that follows a head with this length.
    pub(super) fn new(stream: RequestStream<QuicRecv, Bytes>, left: Option<u64>) -> Self {
        Self { stream, left, first: None, state: BodyState::Data }
    }

    /// Waits until it is known if there is a body. Trailers without one are dropped.
    ///
    /// # Errors
    /// If the body breaks off.
    pub(super) async fn look(&mut self) -> Result<(), BodyError> {
        self.first = poll_fn(|cx| self.poll_data(cx)).await?;
        if self.first.is_none() {
            self.state = BodyState::Ended;
        }
        Ok(())
    }

    /// Returns the next part of the data, or `None` at their end.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, BodyError>> {
        while self.state == BodyState::Data {
            let read = ready!(self.stream.poll_recv_data(cx)).map_err(broken)?;
            let Some(mut read) = read else {
                self.state = BodyState::Trailers;
                break;
            };
            let data = read.copy_to_bytes(read.remaining());
            if let Some(left) = &mut self.left {
                *left = left.checked_sub(data.len() as u64).ok_or_else(|| broken(WrongLength))?;
            }
            if !data.is_empty() {
                return Poll::Ready(Ok(Some(data)));
            }
        }
        let is_short = self.left.is_some_and(|left| left > 0);
        Poll::Ready(if is_short { Err(broken(WrongLength)) } else { Ok(None) })
    }
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> BodyError {
    BodyError::Client(Box::new(error))
}

impl Body for Http3Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        match ready!(self.poll_data(cx)) {
            Ok(Some(data)) => return Poll::Ready(Some(Ok(Frame::data(data)))),
            Err(error) => return Poll::Ready(Some(Err(error))),
            Ok(None) => {}
        }
        if self.state == BodyState::Ended {
            return Poll::Ready(None);
        }
        let trailers = ready!(self.stream.poll_recv_trailers(cx));
        self.state = BodyState::Ended;
        Poll::Ready(trailers.map_err(broken).transpose().map(|trailers| trailers.map(Frame::trailers)))
    }

    fn is_end_stream(&self) -> bool {
        // A client that sends more than it said is not listened to.
        self.first.is_none() && (self.state == BodyState::Ended || self.left == Some(0))
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, |first| first.len() as u64);
        match self.left {
            Some(left) => SizeHint::with_exact(left + first),
            None if self.state == BodyState::Ended => SizeHint::with_exact(first),
            None => SizeHint::default(),
        }
    }
}
