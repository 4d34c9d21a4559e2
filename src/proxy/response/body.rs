//! The body of a response to a client: a page of the proxy, or a backend's body, as it is or compressed.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::memory_budget::MemoryShare;
use crate::proxy::body_error::BodyError;
use crate::proxy::response::compressed::CompressedBody;
use crate::proxy::response::streamed::StreamedBody;
use crate::traffic::CompressionPlan;

/// The body of a response to a client.
pub(crate) enum ProxyBody {
    /// A page of the proxy, or nothing.
    Whole(Option<Bytes>),
    /// A backend's body.
    Streamed(StreamedBody),
    /// A backend's body, compressed. It is boxed because it is large and rare.
    Compressed(Box<CompressedBody>),
}

impl ProxyBody {
    /// Returns a backend's body, compressed if there is a plan for it.
    pub(crate) fn of_backend(body: StreamedBody, compression: Option<(CompressionPlan, MemoryShare)>) -> Self {
        match compression {
            None => Self::Streamed(body),
            Some((plan, share)) => Self::Compressed(Box::new(CompressedBody::new(body, plan, share))),
        }
    }
}

impl ProxyBody {
    /// Returns the number of bytes that are at hand, as far as it is known.
    pub(crate) fn ready_bytes(&self) -> usize {
        match self {
            Self::Whole(page) => page.as_ref().map_or(0, Bytes::len),
            Self::Streamed(streamed) => streamed.ready_bytes(),
            Self::Compressed(_) => 0,
        }
    }
}

impl Body for ProxyBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Whole(page) => Poll::Ready(page.take().map(|page| Ok(Frame::data(page)))),
            Self::Streamed(streamed) => {
                let frame = ready!(streamed.poll(cx));
                frame.iter().flatten().for_each(|frame| streamed.count(frame));
                Poll::Ready(frame)
            }
            Self::Compressed(compressed) => {
                let frame = ready!(compressed.poll(cx));
                frame.iter().flatten().for_each(|frame| compressed.source.count(frame));
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(page) => page.is_none(),
            Self::Streamed(streamed) => streamed.is_end_stream(),
            Self::Compressed(compressed) => compressed.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(page) => SizeHint::with_exact(page.as_ref().map_or(0, |page| page.len() as u64)),
            Self::Streamed(streamed) => streamed.size_hint(),
            Self::Compressed(_) => SizeHint::default(),
        }
    }
}
