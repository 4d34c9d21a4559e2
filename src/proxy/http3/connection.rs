//! The life of an HTTP/3 connection: its handshake, its streams, and its end.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use h3::error::Code;
use h3::frame::FrameStream;
use h3::server::Connection;
use h3::stream::BufRecvStream;
use quinn::{Incoming, VarInt};

use crate::certificates::TlsIdentity;
use crate::connection_limits::{CountedConnection, WireProtocol};
use crate::proxy::client::conn_state::{ConnStage, ConnState};
use crate::proxy::client::connections::ConnGuard;
use crate::proxy::context::client::ClientContext;
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::http2::stream_share::StreamShare;
use crate::proxy::http3::stream::{self, NewStream};
use crate::proxy::http3::transport::QuicConnection;
use crate::proxy::http3::unacked::UnackedBytes;
use crate::proxy::upstream::login_conns::LoginConns;
use crate::traffic::Peer;

/// The memory of an open QUIC connection, beyond that of every connection: keys, and the tables of `quinn`.
const QUIC_BYTES: usize = 24 * 1024;

/// The most bytes of a head that are read. `h3` answers a longer one; up to here, the proxy tells why it refuses.
const HEAD_BYTES_READ: u64 = 128 * 1024;

/// The places of a connection in the lists.
pub(super) struct ConnPlaces {
    pub(super) open: ConnGuard,
    /// Its place among the handshakes, until it is done.
    pub(super) shaking: ConnGuard,
    pub(super) counted: CountedConnection,
}

/// Agrees on TLS with a client, then serves HTTP/3 until the connection ends.
pub(super) async fn serve(
    worker: Rc<WorkerContext>,
    incoming: Incoming,
    (peer, state): (Peer, Arc<ConnState>),
    mut places: ConnPlaces,
) {
    let memory = &worker.settings.memory;
    let (_share, _buffers) = (memory.connection(), memory.take_always(QUIC_BYTES));
    let shaken = match incoming.accept() {
        Ok(connecting) => connecting.await,
        Err(error) => Err(error),
    };
    let connection = match shaken {
        Ok(connection) => connection,
        Err(error) => {
            places.counted.listener().handshake_failed();
            return tracing::debug!(%error, "a QUIC handshake failed");
        }
    };
    places.counted.speaks(WireProtocol::Http3);
    drop(places.shaking);
    let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    worker.connections.can_wake(places.open.id(), task);
    state.enter(ConnStage::Fresh);
    // The session always says the identity that it has shown.
    let identity = connection.handshake_data().and_then(|data| data.downcast::<Arc<TlsIdentity>>().ok());
    let Some(identity) = identity else { return };
    let tls = Some(Rc::new(TlsIdentity::clone(&identity)));
    let client =
        Rc::new(ClientContext { peer, tls, state, logins: LoginConns::default(), carrier: None, read_ahead: None });
    let quic = connection.clone();
    let begun = builder().build(QuicConnection::new(connection)).await;
    let Ok(connection) = begun else { return };
    let (share, unacked) = (StreamShare::new(&worker, &client), UnackedBytes::new(memory));
    let start = |stream| stream::carry(Rc::clone(&share), Rc::clone(&unacked), stream);
    let streams = FuturesUnordered::new();
    let (stage, is_ending) = (None, false);
    let mut carrier =
        StreamsCarrier { share: &share, unacked: &unacked, quic, connection, streams, start, stage, is_ending };
    poll_fn(|cx| carrier.poll(cx)).await;
}

fn builder() -> h3::server::Builder {
    let mut builder = h3::server::builder();
    builder.max_field_section_size(HEAD_BYTES_READ).send_grease(false);
    builder
}

/// A connection and the futures of its streams.
struct StreamsCarrier<'s, F, S> {
    share: &'s StreamShare,
    unacked: &'s UnackedBytes,
    quic: quinn::Connection,
    connection: Connection<QuicConnection, Bytes>,
    streams: FuturesUnordered<F>,
    start: S,
    // The last stage that was noted.
    stage: Option<ConnStage>,
    is_ending: bool,
}

impl<F, S> StreamsCarrier<'_, F, S>
where
    F: Future<Output = ()>,
    S: Fn(NewStream) -> F,
{
    /// Moves all that can be moved. It is ready once the connection is closed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.look_at_time();
        loop {
            match self.connection.poll_accept_request_stream(cx) {
                Poll::Ready(Ok(Some(stream))) => {
                    // A time without streams begins anew, also after a stream that ends in this round.
                    self.stage = None;
                    let watch = stream.watch();
                    let head = self.connection.create_resolver(FrameStream::new(BufRecvStream::new(stream)));
                    self.streams.push((self.start)((head, watch)));
                }
                // `h3` has told a client that breaks the protocol.
                Poll::Ready(Ok(None) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(cx) {}
        let is_over = self.share.draw_memory().is_err() || self.unacked.draw_memory().is_err();
        if is_over || self.share.is_flooded() {
            self.close(Code::H3_EXCESSIVE_LOAD);
            return Poll::Ready(());
        }
        if self.is_ending && self.streams.is_empty() {
            self.close(Code::H3_NO_ERROR);
            return Poll::Ready(());
        }
        self.note_stage();
        Poll::Pending
    }

    fn close(&self, code: Code) {
        // The codes of HTTP/3 are small (RFC 9114 §8.1).
        self.quic.close(VarInt::from_u64(code.value()).unwrap_or(VarInt::MAX), b"");
    }

    /// Begins the end if it is asked for, or if the connection carried nothing for too long, and wakes the streams that are due.
    fn look_at_time(&mut self) {
        let state = &self.share.client.state;
        let now = self.share.worker.ticks.now();
        if state.due().is_some_and(|due| due <= now) && !self.share.wake_due(now) {
            state.finish();
        }
        // A new connection first gets its chance to carry something.
        let is_stopping = self.share.worker.is_stopping.get() && !self.streams.is_empty();
        if (state.finishes() || is_stopping) && !std::mem::replace(&mut self.is_ending, true) {
            // A client that gives the control stream no window is not told.
            let _ = self.connection.shutdown(0).now_or_never();
        }
    }

    /// Notes the begin and the end of a time without streams.
    fn note_stage(&mut self) {
        let stage = if self.streams.is_empty() { ConnStage::IdleStreams } else { ConnStage::Busy };
        if self.stage.replace(stage) == Some(stage) {
            return;
        }
        self.share.client.state.enter(stage);
        if stage == ConnStage::IdleStreams {
            let worker = &self.share.worker;
            let due = worker.ticks.after(worker.settings.keep_alive);
            self.share.client.wake_at(&worker.connections, Some(due));
        }
    }
}
