//! The part of a connection to a backend that one request has: a whole connection of HTTP/1.1, or a stream of HTTP/2.

use std::task::Context;

use http::HeaderValue;

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

    /// Moves the bytes that can be moved. Returns true if nobody else moves them.
    pub(crate) fn drive(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::Http1(conn) => {
                conn.drive(cx);
                true
            }
            Self::Http2(_) => false,
        }
    }

    /// Lets the connection change protocols, which a stream cannot. It moves by itself from here on.
    pub(crate) fn into_tunnel(self) {
        if let Self::Http1(conn) = self {
            conn.into_tunnel();
        }
    }

    /// Binds the connection to its client, because somebody logs in on it. On HTTP/2 nobody can.
    pub(crate) fn bind(&mut self) {
        if let Self::Http1(conn) = self {
            conn.bind();
        }
    }
}
