//! Bodies of HTTP/1.1 requests on the API port whose end only the connection's reader knows.
//!
//! hyper takes a bare line feed behind the last chunk for the beginning of a trailer field and reads on through the next
//! request. No call takes trailers, so a chunked body that has some is broken. What must hold: no request is
//! answered behind a chunked body, and none behind a `CONNECT`, on the same connection.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper::{Method, Request, Version};

/// True if the connection is to end behind the answer.
pub(super) fn is_last(request: &Request<Incoming>) -> bool {
    request.version() <= Version::HTTP_11 && (request.method() == Method::CONNECT || is_chunked(request.body()))
}

/// The body of a request, without trailers where it is chunked.
pub(super) fn body(version: Version, incoming: Incoming) -> Body {
    if version <= Version::HTTP_11 && is_chunked(&incoming) {
        Body::new(Chunked(incoming))
    } else {
        Body::new(incoming)
    }
}

fn is_chunked(body: &Incoming) -> bool {
    !body.is_end_stream() && body.size_hint().exact().is_none()
}

struct Chunked(Incoming);

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("trailers are not taken")]
    Trailers,
    #[error(transparent)]
    Source(#[from] hyper::Error),
}

impl hyper::body::Body for Chunked {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll_frame(cx)) {
            Some(Ok(frame)) if frame.is_trailers() => Some(Err(Broken::Trailers)),
            other => other.map(|frame| frame.map_err(Broken::from)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
