//! The transports below a client's HTTP: TCP, and TLS over TCP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::memory_budget::MemoryShare;

/// A transport below a client's HTTP.
pub(crate) trait ClientTransport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The bytes that a write may leave for the flush after it.
    const UNSENT_BYTES_MAX: usize;

    /// Returns the TCP connection.
    fn tcp(&self) -> &TcpStream;
}

/// TLS with a client.
pub(crate) type ClientTls = TlsStream<HandshakeSocket>;

impl ClientTransport for TcpStream {
    const UNSENT_BYTES_MAX: usize = 0;

    fn tcp(&self) -> &TcpStream {
        self
    }
}

impl ClientTransport for ClientTls {
    // The limit of rustls.
    const UNSENT_BYTES_MAX: usize = 64 * 1024;

    fn tcp(&self) -> &TcpStream {
        self.get_ref().0.tcp()
    }
}

/// The TCP connection below TLS. During the handshake it counts the memory of messages that are not complete, and notices a
/// client that does not speak TLS.
#[derive(Debug)]
pub(crate) struct HandshakeSocket {
    socket: TcpStream,
    // `None` after the handshake.
    share: Option<MemoryShare>,
    read_bytes: usize,
    speaks_http: bool,
}

/// The first byte of a TLS connection: a handshake record (RFC 8446 §5.1).
pub(crate) const TLS_HANDSHAKE: u8 = 22;

impl HandshakeSocket {
    pub(crate) fn new(socket: TcpStream, share: MemoryShare) -> Self {
        Self { socket, share: Some(share), read_bytes: 0, speaks_http: false }
    }

    /// Returns the TCP connection.
    pub(crate) fn tcp(&self) -> &TcpStream {
        &self.socket
    }

    /// Returns true if the client has sent HTTP and not TLS.
    pub(crate) fn speaks_http(&self) -> bool {
        self.speaks_http
    }

    /// Ends the count of the handshake, and returns the share for what comes then.
    pub(crate) fn finish(&mut self) -> Option<MemoryShare> {
        self.share.take()
    }

    /// Counts bytes of the handshake. They are held by rustls, in buffers that grow by doubling.
    fn note_handshake(&mut self, received: &[u8]) -> io::Result<()> {
        let Some(share) = &mut self.share else { return Ok(()) };
        if self.read_bytes == 0 && received.first().is_some_and(|first| *first != TLS_HANDSHAKE) {
            // Methods of HTTP are in capital letters, and so is the preface of HTTP/2.
            self.speaks_http = received.iter().take(3).all(u8::is_ascii_uppercase);
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.read_bytes += received.len();
        share.set(2 * self.read_bytes).map_err(io::Error::other)
    }
}

impl AsyncRead for HandshakeSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buf))?;
        Poll::Ready(this.note_handshake(buf.filled().get(before..).unwrap_or_default()))
    }
}

impl AsyncWrite for HandshakeSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // One record is one slice; `send` costs less than `writev`.
        match bufs {
            [buf] => Pin::new(&mut self.socket).poll_write(cx, buf),
            bufs => Pin::new(&mut self.socket).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
