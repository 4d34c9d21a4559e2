//! The life of an HTTP/2 connection: its preface, its streams, and its end.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::Request;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::proxy::client::conn_state::ConnStage;
use crate::proxy::context::client::ClientContext;
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::http2::quiet_waker::QuietWaker;
use crate::proxy::http2::socket::Http2Socket;
use crate::proxy::http2::stream;
use crate::proxy::http2::stream_set::StreamSet;
use crate::proxy::http2::stream_share::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, StreamShare};

/// The most streams at once; clients expect no fewer (RFC 9113 §6.5.2).
const STREAMS_MAX: u32 = 100;
/// The most bytes of a head that are read. `h2` answers a longer one; up to here, the proxy tells why it refuses.
const HEAD_BYTES_READ: u32 = 128 * 1024;
/// The most bytes of one stream that wait for the socket.
const STREAM_QUEUE_BYTES_MAX: usize = 128 * 1024;
/// The streams that were reset before they were looked at; more end the connection (CVE-2023-44487).
const PENDING_RESETS_MAX: usize = 32;
/// The streams that were reset here for a client's fault; more end the connection (CVE-2025-8671).
const FAULTS_MAX: usize = 128;

/// Serves HTTP/2 on `transport`, from which the bytes `first` were read before, until it ends. The task of the connection must be
/// known to the list of connections.
pub(crate) async fn serve<T: AsyncRead + AsyncWrite + Unpin>(
    worker: Rc<WorkerContext>,
    client: Rc<ClientContext>,
    transport: T,
    first: Vec<u8>,
) {
    let task = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let state = Arc::clone(&client.state);
    let socket = Http2Socket::new(transport, first, Arc::clone(&state));
    let mut handshake = pin!(builder().handshake(socket.share()));
    let begun = poll_fn(|cx| {
        let polled = handshake.as_mut().poll(cx);
        socket.end_turn(cx);
        match polled {
            Poll::Pending if state.finishes() => Poll::Ready(None),
            polled => polled.map(Result::ok),
        }
    });
    let Some(connection) = begun.await else { return };
    let share = StreamShare::new(&worker, &client);
    let start = |request, respond| stream::carry(Rc::clone(&share), request, respond);
    let quiet = QuietWaker::new(task);
    let streams = StreamSet::new(Arc::clone(&quiet));
    let mut carrier = StreamCarrier { share: &share, connection, streams, start, stage: None, is_ending: false };
    poll_fn(|cx| {
        let polled = quiet.rounds(|cx| carrier.poll(cx));
        socket.end_turn(cx);
        polled
    })
    .await;
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_READ)
        .max_send_buffer_size(STREAM_QUEUE_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .enable_connect_protocol()
        .max_local_error_reset_streams(Some(FAULTS_MAX));
    builder
}

/// A connection and the futures of its streams.
struct StreamCarrier<'s, T, F, S> {
    share: &'s StreamShare,
    connection: Connection<Http2Socket<T>, Bytes>,
    streams: StreamSet<F>,
    start: S,
    // The last stage that was noted.
    stage: Option<ConnStage>,
    is_ending: bool,
}

impl<T, F, S> StreamCarrier<'_, T, F, S>
where
    T: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
    S: Fn(Request<RecvStream>, SendResponse<Bytes>) -> F,
{
    /// Moves all that can be moved. It is ready once the connection is closed.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.look_at_time();
        loop {
            if self.streams.is_full() {
                // Streams that were reset have not ended yet.
                match self.connection.poll_closed(cx) {
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => break,
                }
            }
            match self.connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    // A time without streams begins anew, also after a stream that ends in this round.
                    self.stage = None;
                    self.streams.push(Box::pin((self.start)(request, respond)));
                    if self.share.worker.is_stopping.get() {
                        self.begin_end();
                    }
                }
                // `h2` has told a client that breaks the protocol.
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        self.share.flushed();
        let was_full = self.streams.is_full();
        self.streams.poll_woken();
        if was_full && !self.streams.is_full() {
            cx.waker().wake_by_ref();
        }
        if self.share.is_flooded() || self.share.draw_memory().is_err() {
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
            self.is_ending = true;
            cx.waker().wake_by_ref();
        }
        self.note_stage();
        Poll::Pending
    }

    /// Begins the end if it is asked for, or if the connection carried nothing for too long, and wakes the streams that are due.
    fn look_at_time(&mut self) {
        let state = &self.share.client.state;
        let now = self.share.worker.ticks.now();
        if state.due().is_some_and(|due| due <= now) && !self.share.wake_due(now) {
            state.finish();
        }
        // A new connection first gets its chance to carry something.
        if state.finishes() || (self.share.worker.is_stopping.get() && !self.streams.is_empty()) {
            self.begin_end();
        }
    }

    /// Tells the client that the connection takes no more streams. Those that it opens before it hears of it are served.
    fn begin_end(&mut self) {
        if !std::mem::replace(&mut self.is_ending, true) {
            self.connection.graceful_shutdown();
        }
    }

    /// Notes the begin and the end of a time without streams.
    fn note_stage(&mut self) {
        let stage = match (self.streams.is_empty(), self.is_ending) {
            (false, _) => ConnStage::Busy,
            (true, false) => ConnStage::IdleStreams,
            (true, true) => ConnStage::Lingering,
        };
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
