//! The body of a client's request, as the client's protocol brings it.
//!
//! Invariants: bytes of a stream are given back to its window only when they are taken, so that a client never sends more
//! than the backend is about to get.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::oneshot;

use crate::proxy::body_error::BodyError;
use crate::proxy::client::stream_tunnel::{ClientUpgrade, StreamTunnel};

/// The body of a client's request.
pub(crate) enum ClientBody {
    /// A body on an HTTP/1 connection.
    Http1(Incoming),
    /// A body on a stream of an HTTP/2 connection.
    Http2(StreamBody),
    /// A body on a stream of an HTTP/3 connection. Its protocol is not known here.
    #[cfg_attr(not(feature = "http3"), expect(dead_code, reason = "only HTTP/3 has it"))]
    Http3(Pin<Box<dyn Body<Data = Bytes, Error = BodyError>>>),
    /// None: the stream is to carry another protocol.
    Tunnel(Option<oneshot::Receiver<StreamTunnel>>),
}

/// A request body on a stream.
pub(crate) struct StreamBody {
    stream: RecvStream,
    // The bytes that are left, if the head says it.
    left: Option<u64>,
    // False once all data has come.
    has_data: bool,
    // False if the stream ended with its head.
    exists: bool,
}

impl StreamBody {
    /// Returns the body that follows a head with these fields, if one `exists`.
    pub(crate) fn new(stream: RecvStream, exists: bool, fields: &HeaderMap) -> Self {
        let length = || fields.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        Self { stream, left: if exists { length() } else { Some(0) }, has_data: exists, exists }
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        while self.has_data {
            let Some(data) = ready!(self.stream.poll_data(cx)) else {
                self.has_data = false;
                break;
            };
            let data = data?;
            // It fails only for more bytes than have come.
            self.stream.flow_control().release_capacity(data.len())?;
            self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
            // An empty frame carries nothing but perhaps the end.
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx))?;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

impl ClientBody {
    /// True if the connection carries nothing but this message for the time being.
    pub(crate) fn has_connection(&self) -> bool {
        matches!(self, Self::Http1(_))
    }

    /// True if the request came over HTTP/3.
    pub(crate) fn is_http3(&self) -> bool {
        matches!(self, Self::Http3(_))
    }

    /// Returns the client's side of the tunnel that the request asks for. A second call finds none.
    pub(crate) fn upgrade_of(request: &mut Request<Self>) -> Option<ClientUpgrade> {
        match request.body_mut() {
            Self::Http1(_) => Some(ClientUpgrade::Connection(hyper::upgrade::on(request))),
            Self::Tunnel(stream) => stream.take().map(ClientUpgrade::Stream),
            Self::Http2(_) | Self::Http3(_) => None,
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Http1(incoming) => Pin::new(incoming).poll_frame(cx).map_err(BodyError::from),
            Self::Http2(body) => body.poll_frame(cx),
            Self::Http3(body) => body.as_mut().poll_frame(cx),
            Self::Tunnel(_) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Http1(incoming) => incoming.is_end_stream(),
            Self::Http2(body) => !body.exists || body.stream.is_end_stream(),
            Self::Http3(body) => body.is_end_stream(),
            Self::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Http1(incoming) => incoming.size_hint(),
            Self::Http3(body) => body.size_hint(),
            Self::Http2(body) => body.left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Self::Tunnel(_) => SizeHint::with_exact(0),
        }
    }
}
