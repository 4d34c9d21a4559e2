//! Tunnels: connections that have changed protocols carry bytes both ways until both sides are done.

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
use crate::proxy::client::conn_state::ConnStage;
use crate::proxy::client::conn_state::ConnState;
use crate::proxy::client::stream_tunnel::ClientUpgrade;
use crate::proxy::context::request::{RequestContext, RequestOutcome};
use crate::proxy::context::worker::WorkerContext;
use crate::traffic::Peer;

/// The size of the buffer for each direction.
const BUFFER_BYTES: usize = 16 * 1024;
/// The size of a buffer when there is little memory left.
const SMALL_BYTES: usize = 2 * 1024;

/// Carries bytes between client and backend until both are silent for `silence_max`. The request counts as in flight
/// meanwhile.
pub(crate) fn open(
    worker: &Rc<WorkerContext>,
    peer: &Peer,
    (client, backend): (ClientUpgrade, OnUpgrade),
    silence_max: Option<Span>,
    mut context: RequestContext,
) {
    let state = ConnState::new(ConnStage::Tunnel, &worker.ticks);
    state.may_be_silent_for(silence_max);
    let place = worker.connections.enter(&state, peer);
    let memory = &worker.settings.memory;
    let (bytes, share) = match memory.take(2 * BUFFER_BYTES) {
        Ok(share) => (BUFFER_BYTES, share),
        Err(_) => (SMALL_BYTES, memory.take_always(2 * SMALL_BYTES)),
    };
    let id = place.id();
    let abort = lifecycle::spawn_local(async move {
        if let (Some(client), Ok(backend)) = (client.opened().await, backend.await) {
            let mut client = TunnelSide { stream: client, state: Arc::clone(&state), read: 0 };
            let mut backend = TunnelSide { stream: TokioIo::new(backend), state, read: 0 };
            let copied = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut backend, bytes, bytes);
            // The side that broke the tunnel off knows.
            let _ = copied.await;
            context.count_bytes(client.read, backend.read);
        }
        context.finish(RequestOutcome::TunnelClosed);
        drop(share);
        drop(place);
    });
    worker.connections.can_cut(id, abort);
}

/// One side of a tunnel. It notes progress for the sweep.
struct TunnelSide<S> {
    stream: S,
    state: Arc<ConnState>,
    read: u64,
}

impl<S: AsyncRead + Unpin> AsyncRead for TunnelSide<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.read += (buf.filled().len() - before) as u64;
        self.state.progress();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for TunnelSide<S> {
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
