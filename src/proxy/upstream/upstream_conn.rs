//! The part of a connection to a backend that one request has: a whole connection of HTTP/1.1, or a stream of HTTP/2.

use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Frame, SizeHint};

use crate::connect::BackendStream;
use crate::http1::UpgradedStream;
use crate::proxy::body_error::BodyError;
use crate::proxy::upstream::http1_conn::Http1Conn;
use crate::proxy::upstream::http2_stream::Http2Stream;

/// The part of a connection to a backend that one request has.
pub(crate) enum UpstreamConn {
    Http1(Http1Conn),
    Http2(Http2Stream),
}

impl UpstreamConn {
    /// Obeys the `Keep-Alive` field of a response, which HTTP/2 does not have.
    pub(crate) fn heed(&mut self, keep_alive: &HeaderValue) {
        if let Self::Http1(conn) = self {
            conn.heed(keep_alive);
        }
    }

    /// True if the body of the request must be kept, because the request may have to be sent again after it was begun. A request that
    /// is not `idempotent` is sent again only if the backend says that it has processed nothing, which HTTP/1.1 cannot say.
    pub(crate) fn may_give_back(&self, idempotent: bool) -> bool {
        match self {
            Self::Http1(conn) => idempotent && conn.is_reused(),
            Self::Http2(_) => true,
        }
    }

    /// Reads the next frame of the response.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self {
            Self::Http1(conn) => conn.poll_frame(cx),
            Self::Http2(stream) => stream.poll_frame(cx),
        }
    }

    /// True if the response has ended.
    pub(crate) fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(conn) => conn.is_end_stream(),
            Self::Http2(stream) => stream.is_end_stream(),
        }
    }

    /// Returns the number of bytes of the response that are at hand, as far as it is known.
    pub(crate) fn ready_bytes(&self) -> usize {
        match self {
            Self::Http1(conn) => conn.ready_bytes(),
            Self::Http2(_) => 0,
        }
    }

    /// Returns the bytes of the response that are still to come, as far as they are known.
    pub(crate) fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(conn) => conn.size_hint(),
            Self::Http2(stream) => stream.size_hint(),
        }
    }

    /// Returns the connection for another protocol, which a stream cannot carry.
    pub(crate) fn into_tunnel(self) -> Option<UpgradedStream<BackendStream>> {
        match self {
            Self::Http1(conn) => conn.into_tunnel(),
            Self::Http2(_) => None,
        }
    }

    /// Binds the connection to its client, because somebody logs in on it. On HTTP/2 nobody can.
    pub(crate) fn bind(&mut self) {
        if let Self::Http1(conn) = self {
            conn.bind();
        }
    }
}
