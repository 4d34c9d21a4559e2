//! A stream of an HTTP/2 connection that carries another protocol (RFC 8441), as a plain pair of byte streams.
//!
//! Invariants: a byte is taken from the client only when somebody reads it, and from the backend only when the client has a window
//! for it; the stream ends with the tunnel, and the tunnel with the stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// The client's side of a tunnel that is to be opened.
pub(crate) enum ClientUpgrade {
    /// Its connection changes protocols.
    Connection(OnUpgrade),
    /// One of its streams does.
    Stream(oneshot::Receiver<StreamTunnel>),
}

/// The client's side of a tunnel.
pub(crate) enum ClientTunnel {
    Connection(TokioIo<Upgraded>),
    Stream(StreamTunnel),
}

/// Both directions of a stream. It tells the task of the connection when it is dropped.
pub(crate) struct StreamTunnel {
    received: RecvStream,
    // Bytes that were received and not read yet.
    unread: Bytes,
    sent: SendStream<Bytes>,
    _ends: oneshot::Sender<()>,
}

impl ClientUpgrade {
    /// Waits until the client has changed protocols. Returns `None` if it never does.
    pub(crate) async fn opened(self) -> Option<ClientTunnel> {
        match self {
            Self::Connection(upgrade) => upgrade.await.ok().map(|io| ClientTunnel::Connection(TokioIo::new(io))),
            Self::Stream(stream) => stream.await.ok().map(ClientTunnel::Stream),
        }
    }
}

impl StreamTunnel {
    /// Returns the tunnel, and what is ready once it has ended.
    pub(crate) fn new(received: RecvStream, sent: SendStream<Bytes>) -> (Self, oneshot::Receiver<()>) {
        let (ends, ended) = oneshot::channel();
        (Self { received, unread: Bytes::new(), sent, _ends: ends }, ended)
    }

    fn poll_received(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(self.received.poll_data(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(data) => self.unread = data.map_err(broken)?,
            }
        }
        let bytes = self.unread.len().min(buf.remaining());
        buf.put_slice(self.unread.get(..bytes).unwrap_or_default());
        self.unread.advance(bytes);
        self.received.flow_control().release_capacity(bytes).map_err(broken)?;
        Poll::Ready(Ok(()))
    }

    fn poll_sent(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.sent.reserve_capacity(bytes.len());
        while self.sent.capacity() == 0 {
            match ready!(self.sent.poll_capacity(cx)) {
                Some(window) => {
                    window.map_err(broken)?;
                }
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let part = bytes.get(..bytes.len().min(self.sent.capacity())).unwrap_or_default();
        self.sent.send_data(Bytes::copy_from_slice(part), false).map_err(broken)?;
        Poll::Ready(Ok(part.len()))
    }
}

fn broken(error: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, error)
}

impl AsyncRead for ClientTunnel {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Connection(io) => Pin::new(io).poll_read(cx, buf),
            Self::Stream(stream) => stream.poll_received(cx, buf),
        }
    }
}

impl AsyncWrite for ClientTunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Connection(io) => Pin::new(io).poll_write(cx, buf),
            Self::Stream(stream) => stream.poll_sent(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Connection(io) => Pin::new(io).poll_flush(cx),
            Self::Stream(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Connection(io) => Pin::new(io).poll_shutdown(cx),
            Self::Stream(stream) => {
                // A stream that the client has reset needs no end.
                let _ = stream.sent.send_data(Bytes::new(), true);
                Poll::Ready(Ok(()))
            }
        }
    }
}
