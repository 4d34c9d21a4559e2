//! Tunnels: connections that have changed protocols carry bytes both ways until both sides are done.
//!
//! A WebSocket that is asked to end gets a Close frame between two frames of its backend (RFC 6455 §5.5.1); the client's
//! own Close then goes to the backend as any frame does. Tunnels of other protocols end when the time for long streams is
//! over, because nothing is known of their boundaries.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connect::BackendStream;
use crate::domain::Span;
use crate::http1::UpgradedStream;
use crate::lifecycle;
use crate::proxy::client::conn_state::ConnStage;
use crate::proxy::client::conn_state::ConnState;
use crate::proxy::client::stream_tunnel::ClientUpgrade;
use crate::proxy::context::long_streams::{EndRequest, LongStream};
use crate::proxy::context::request::{RequestContext, RequestOutcome};
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::response::frame_tracker::{FrameTracker, GOING_AWAY};
use crate::traffic::Peer;

/// The size of the buffer for each direction.
const BUFFER_BYTES: usize = 16 * 1024;
/// The size of a buffer when there is little memory left.
const SMALL_BYTES: usize = 2 * 1024;

/// Carries bytes between client and backend until both are silent for `silence_max`. The request counts as in flight
/// meanwhile. `is_websocket` is true if the protocol is WebSocket.
pub(crate) fn open(
    worker: &Rc<WorkerContext>,
    peer: &Peer,
    (client, backend): (ClientUpgrade, UpgradedStream<BackendStream>),
    (silence_max, is_websocket): (Option<Span>, bool),
    mut context: Box<RequestContext>,
) {
    let state = ConnState::new(ConnStage::Tunnel, &worker.ticks);
    state.may_be_silent_for(silence_max);
    let place = worker.connections.enter(&state, peer);
    let memory = &worker.settings.memory;
    let (bytes, share) = match memory.take(2 * BUFFER_BYTES) {
        Ok(share) => (BUFFER_BYTES, share),
        Err(_) => (SMALL_BYTES, memory.take_always(2 * SMALL_BYTES)),
    };
    let stream = Rc::new(worker.long_streams.enter());
    let id = place.id();
    let abort = lifecycle::spawn_local(async move {
        if let Some(client) = client.opened().await {
            let mut client = TunnelSide::new(client, &state, &stream, None);
            let close = is_websocket.then(WebSocketClose::default);
            let mut backend = TunnelSide::new(backend, &state, &stream, close);
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

/// One side of a tunnel. It notes progress for the sweep, and ends what it reads when the tunnel is asked to end.
struct TunnelSide<S> {
    stream: S,
    state: Arc<ConnState>,
    read: u64,
    end: Rc<LongStream>,
    // The backend's side of a WebSocket.
    close: Option<WebSocketClose>,
}

impl<S> TunnelSide<S> {
    fn new(stream: S, state: &Arc<ConnState>, end: &Rc<LongStream>, close: Option<WebSocketClose>) -> Self {
        Self { stream, state: Arc::clone(state), read: 0, end: Rc::clone(end), close }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for TunnelSide<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let is_asked = match this.end.end_request(cx) {
            // Nothing read is the end of what this side sends.
            EndRequest::Now => return Poll::Ready(Ok(())),
            EndRequest::AtBoundary => true,
            EndRequest::None => false,
        };
        if let Some(close) = this.close.as_mut().filter(|_| is_asked)
            && close.begins()
        {
            if close.write(buf) {
                return Poll::Ready(Ok(()));
            }
            ready!(discard(&mut this.stream, &this.state, cx))?;
            // The backend has ended, so the client has nobody to send to.
            this.end.end_now();
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        let received = buf.filled().get(before..).unwrap_or_default();
        let passed = match &mut this.close {
            None => received.len(),
            Some(close) => close.frames.advance(received, is_asked),
        };
        buf.set_filled(before + passed);
        this.read += passed as u64;
        this.state.progress();
        Poll::Ready(Ok(()))
    }
}

/// Reads and drops all that a backend still sends behind the Close frame, to its end.
fn discard(stream: &mut (impl AsyncRead + Unpin), state: &ConnState, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut scratch = [0; 4096];
    loop {
        let mut received = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut received))?;
        if received.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        state.progress();
    }
}

/// The Close frame that a WebSocket's client gets in the backend's place.
#[derive(Default)]
struct WebSocketClose {
    frames: FrameTracker,
    // The bytes of the frame that have been written; `None` before it begins.
    written: Option<usize>,
}

impl WebSocketClose {
    /// Returns true once the frame may be written, and from then on.
    fn begins(&mut self) -> bool {
        if self.written.is_none() && self.frames.is_at_boundary() {
            // A backend that has closed the connection itself is not contradicted.
            self.written = Some(if self.frames.is_closed() { GOING_AWAY.len() } else { 0 });
        }
        self.written.is_some()
    }

    /// Writes what is left of the frame, as far as there is room. Returns false if nothing is left.
    fn write(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let written = self.written.get_or_insert(0);
        let rest = GOING_AWAY.get(*written..).unwrap_or_default();
        let part = rest.get(..buf.remaining()).unwrap_or(rest);
        buf.put_slice(part);
        *written += part.len();
        !part.is_empty()
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
