//! Bodies of HTTP/1.1 requests whose end only the connection's reader knows.
//!
//! hyper reads a bare line feed behind the last chunk as the beginning of a trailer field and reads on into the next
//! request. No call takes trailers, so a chunked body with trailers is refused. Invariants: no request is
//! answered behind a chunked body or a `CONNECT` on the same connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper::{Method, Request, Version};

/// Returns true if the connection must end after the response.
pub(super) fn is_last(request: &Request<Incoming>) -> bool {
    request.version() <= Version::HTTP_11 && (request.method() == Method::CONNECT || is_chunked(request.body()))
}

/// Returns the body of a request. A chunked one fails if it has trailers.
pub(super) fn body(version: Version, incoming: Incoming) -> Body {
    if version <= Version::HTTP_11 && is_chunked(&incoming) {
        Body::new(ChunkedBody(incoming))
    } else {
        Body::new(incoming)
    }
}

fn is_chunked(body: &Incoming) -> bool {
    !body.is_end_stream() && body.size_hint().exact().is_none()
}

struct ChunkedBody(Incoming);

#[derive(Debug, thiserror::Error)]
enum BrokenBody {
    #[error("trailers are not taken")]
    Trailers,
    #[error(transparent)]
    Source(#[from] hyper::Error),
}

impl hyper::body::Body for ChunkedBody {
    type Data = Bytes;
    type Error = BrokenBody;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenBody>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
            Some(Ok(frame)) if frame.is_trailers() => Some(Err(BrokenBody::Trailers)),
            other => other.map(|frame| frame.map_err(BrokenBody::from)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
