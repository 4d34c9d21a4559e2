//! A client's transport below HTTP/2.
//!
//! It returns the bytes first that were read to find out the protocol, and notes in the connection's state if the client takes what it is
//! sent. A client that floods the connection with control frames is disconnected. `h2` flushes after each frame with data; here such
//! flushes do nothing, and the frames of all streams go out together when the connection's turn ends. Invariants: no more than
//! [`JOINED_BYTES_MAX`] bytes wait for the end of a turn; while the client takes nothing, flushes wait.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection_limits::FrameCounter;
use crate::http1::move_bytes;
use crate::proxy::client::conn_state::ConnState;

/// The most bytes that are joined: those of one record of TLS (RFC 8446 §5.1).
const JOINED_BYTES_MAX: usize = 16 * 1024;

/// A client's transport. `h2` has it, and the task of the connection, which ends its turns.
pub(super) struct Http2Socket<T>(Rc<RefCell<JoiningSocket<T>>>);

struct JoiningSocket<T> {
    transport: T,
    // Bytes that were read before.
    first: Vec<u8>,
    // Frames that wait for the end of the turn.
    joined: Vec<u8>,
    state: Arc<ConnState>,
    frames: FrameCounter,
}

impl<T: AsyncWrite + Unpin> Http2Socket<T> {
    /// Takes a transport from which `first` was read.
    pub(super) fn new(transport: T, first: Vec<u8>, state: Arc<ConnState>) -> Self {
        let (joined, frames) = (Vec::new(), FrameCounter::default());
        Self(Rc::new(RefCell::new(JoiningSocket { transport, first, joined, state, frames })))
    }

    /// Returns the same transport.
    pub(super) fn share(&self) -> Self {
        Self(Rc::clone(&self.0))
    }

    /// Sends what was joined. If the transport fails, `h2` learns of it when it reads or writes next.
    pub(super) fn end_turn(&self, cx: &mut Context<'_>) {
        let _ = self.0.borrow_mut().poll_send(cx);
    }
}

impl<T: AsyncWrite + Unpin> JoiningSocket<T> {
    /// Joins the bytes, or sends them at once if they are many. Returns how many it took.
    fn poll_take(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().map(|slice| slice.len()).sum::<usize>();
        if self.state.is_stuck() || self.joined.len() + bytes > JOINED_BYTES_MAX {
            ready!(self.poll_send(cx))?;
        }
        let taken = if bytes > JOINED_BYTES_MAX {
            let written = Pin::new(&mut self.transport).poll_write_vectored(cx, slices);
            ready!(self.wrote(written))?
        } else {
            if self.joined.capacity() == 0 {
                self.joined.reserve_exact(JOINED_BYTES_MAX);
            }
            slices.iter().for_each(|slice| self.joined.extend_from_slice(slice));
            bytes
        };
        self.frames.sent(taken);
        Poll::Ready(Ok(taken))
    }

    /// Writes what was joined, and flushes the transport: TLS keeps bytes of its own.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.joined.is_empty() {
            let written = Pin::new(&mut self.transport).poll_write(cx, &self.joined);
            match ready!(self.wrote(written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                bytes if bytes == self.joined.len() => self.joined = Vec::new(),
                bytes => drop(self.joined.drain(..bytes)),
            }
        }
        let flushed = Pin::new(&mut self.transport).poll_flush(cx);
        self.state.set_stuck(flushed.is_pending());
        flushed
    }

    /// Notes a write. The connection keeps all that the client does not take.
    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.state.set_stuck(written.is_pending());
        if written.is_ready() {
            self.state.progress();
        }
        written
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Http2Socket<T> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self.0.borrow_mut();
        let before = buf.filled().len();
        if this.first.is_empty() {
            ready!(Pin::new(&mut this.transport).poll_read(cx, buf))?;
        } else {
            move_bytes(&mut this.first, buf);
        }
        let seen = this.frames.see(buf.filled().get(before..).unwrap_or_default());
        // It ends the connection.
        Poll::Ready(seen.map_err(io::Error::other))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Http2Socket<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_take(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self.0.borrow_mut();
        if this.joined.is_empty() || this.state.is_stuck() { this.poll_send(cx) } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self.0.borrow_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.transport).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::proxy::client::conn_state::ConnStage;
    use crate::proxy::ticks::Ticks;

    fn socket<T: AsyncWrite + Unpin>(transport: T) -> (Http2Socket<T>, Arc<ConnState>) {
        let state = ConnState::new(ConnStage::Busy, &Ticks::default());
        (Http2Socket::new(transport, Vec::new(), Arc::clone(&state)), state)
    }

    /// Counts the writes of a transport.
    struct CountedWrites(Vec<usize>);

    impl AsyncWrite for CountedWrites {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.0.push(buf.len());
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn frames_that_are_flushed_one_by_one_go_out_in_one_write_at_the_end_of_the_turn() {
        let (mut socket, _) = socket(CountedWrites(Vec::new()));
        for _ in 0..10 {
            socket.write_all(&[1; 1000]).await.unwrap();
            socket.flush().await.unwrap();
        }
        assert_eq!(socket.0.borrow().transport.0, [0; 0], "the turn has not ended");
        socket.end_turn(&mut Context::from_waker(Waker::noop()));
        assert_eq!(socket.0.borrow().transport.0, [10_000]);
        assert_eq!(socket.0.borrow().joined.capacity(), 0, "an idle connection keeps no buffer");
    }

    /// Every byte arrives once and in order, for frames of all lengths and clients that take few bytes at once.
    #[tokio::test]
    async fn frames_of_all_lengths_arrive_whole_and_in_order() {
        for room in [1, 700, 20_000, 1 << 20] {
            let (near, mut far) = tokio::io::duplex(room);
            let (mut socket, _) = socket(near);
            let frames = [0, 9, 1033, JOINED_BYTES_MAX, 5, JOINED_BYTES_MAX + 1, 100_000, 20].repeat(2);
            let sent: Vec<Vec<u8>> = (0_u8..).zip(&frames).map(|(n, len)| vec![n; *len]).collect();
            let expected = sent.concat();
            let sending = async {
                for frame in &sent {
                    socket.write_all(frame).await.unwrap();
                    socket.flush().await.unwrap();
                }
                socket.shutdown().await.unwrap();
            };
            let mut received = Vec::new();
            let reading = far.read_to_end(&mut received);
            let ((), read) = tokio::join!(sending, reading);
            assert_eq!(read.unwrap(), expected.len());
            assert!(received == expected, "bytes differ with room for {room}");
        }
    }

    #[tokio::test]
    async fn a_client_that_takes_nothing_stops_the_connection() {
        let (near, mut far) = tokio::io::duplex(1000);
        let (mut socket, state) = socket(near);
        let mut taken = 0;
        poll_fn(|cx| {
            while let Poll::Ready(written) = Pin::new(&mut socket).poll_write(cx, &[7; 500]) {
                taken += written.unwrap();
            }
            Poll::Ready(())
        })
        .await;
        assert!((JOINED_BYTES_MAX - 500..JOINED_BYTES_MAX + 1500).contains(&taken), "{taken} bytes taken");
        assert!(state.is_stuck(), "the connection waits for the client");
        let mut received = vec![0; taken];
        let end = poll_fn(|cx| Pin::new(&mut socket).poll_flush(cx));
        let (read, flushed) = tokio::join!(far.read_exact(&mut received), end);
        assert!(read.is_ok() && flushed.is_ok() && !state.is_stuck());
    }
}
