//! Upgraded connections: bytes both ways until both sides are done.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::domain::Span;
use crate::lifecycle;
use crate::proxy::client::conn_state::Phase;
use crate::proxy::client::conn_state::Stage;
use crate::proxy::context::stats::Account;
use crate::proxy::listener::worker::Worker;
use crate::traffic::Peer;

const BUFFER_BYTES: usize = 16 * 1024;
const SMALL_BYTES: usize = 2 * 1024;

/// Carries bytes between client and backend once both have changed protocols, until both are silent for `silence_max`. The
/// request stays in flight meanwhile.
pub(crate) fn open(
    worker: &Rc<Worker>,
    arrival: &Peer,
    (client, backend): (OnUpgrade, OnUpgrade),
    silence_max: Option<Span>,
    mut account: Account,
) {
    let phase = Phase::new(Stage::Tunnel, &worker.ticks);
    phase.may_be_silent_for(silence_max);
    let place = worker.connections.enter(&phase, arrival);
    // With little memory left, it is carried in small pieces.
    let memory = &worker.settings.memory;
    let (bytes, share) = match memory.take(2 * BUFFER_BYTES) {
        Ok(share) => (BUFFER_BYTES, share),
        Err(_) => (SMALL_BYTES, memory.take_always(2 * SMALL_BYTES)),
    };
    let id = place.id();
    let abort = lifecycle::spawn_local(async move {
        if let (Ok(client), Ok(backend)) = (client.await, backend.await) {
            let mut client = Side { stream: TokioIo::new(client), phase: Arc::clone(&phase), read: 0 };
            let mut backend = Side { stream: TokioIo::new(backend), phase, read: 0 };
            let copied = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut backend, bytes, bytes);
            // Whoever broke it off knows.
            let _ = copied.await;
            account.seen.bytes_received += client.read;
            account.seen.bytes_sent += backend.read;
        }
        drop(account);
        drop(share);
        drop(place);
    });
    worker.connections.can_cut(id, abort);
}

/// One side of a tunnel: tells the sweep that it moves.
struct Side<S> {
    stream: S,
    phase: Arc<Phase>,
    read: u64,
}

impl<S: AsyncRead + Unpin> AsyncRead for Side<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.read += (buf.filled().len() - before) as u64;
        self.phase.progress();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Side<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
