//! The body of a response on its way into a stream.
//!
//! Invariants: the body is read only when the client has a window for it and little waits for the connection; a body that broke off
//! never ends as if it were whole; a stream that stands still for too long is reset.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use http::HeaderMap;
use http_body::{Body, Frame};

use crate::proxy::http2::stream_share::StreamEntry;
use crate::proxy::response::body::ProxyBody;
use crate::proxy::ticks::Ticks;
use crate::traffic::edit_trailers;

/// The bytes that a stream sends before others get their turn.
const TURN_BYTES: usize = 64 * 1024;

/// A body on its way into a stream.
pub(super) struct Pump<'e> {
    entry: &'e StreamEntry,
    body: ProxyBody,
    stream: SendStream<Bytes>,
    // Bytes for which there was no window yet.
    held: Bytes,
    standstill: Option<Standstill>,
}

/// A time in which a stream stands still.
#[derive(Clone, Copy)]
struct Standstill {
    cause: StandstillCause,
    due: u32,
    // The tick of the last progress of the connection when it began.
    progress: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StandstillCause {
    /// The client gives no window.
    Window,
    /// The client does not read the connection, or all that may wait for it waits in other streams.
    Room,
    /// The backend sends nothing.
    Backend,
}

/// The way in which a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PumpEnd {
    Whole,
    /// The client reset the stream.
    Cancelled,
    /// The stream is to be reset.
    Broken(Reason),
}

impl<'e> Pump<'e> {
    pub(super) fn new(entry: &'e StreamEntry, body: ProxyBody, stream: SendStream<Bytes>) -> Self {
        Self { entry, body, stream, held: Bytes::new(), standstill: None }
    }

    /// Moves what can be moved. It is ready when the stream has ended; false if the client reset it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        let mut sent = 0;
        while sent < TURN_BYTES {
            match self.poll_part(cx) {
                Poll::Ready(Ok(bytes)) => sent += bytes,
                Poll::Ready(Err(PumpEnd::Broken(reason))) => {
                    self.stream.send_reset(reason);
                    return Poll::Ready(true);
                }
                Poll::Ready(Err(end)) => return Poll::Ready(end == PumpEnd::Whole),
                // A reset while it waits is noticed here, and one while it sends by the sending.
                Poll::Pending => return self.stream.poll_reset(cx).map(|_| false),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Sends as much as there is a window for of what is held, or of the next frame. Returns its bytes.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, PumpEnd>> {
        let mut window = 0;
        if self.held.is_empty() {
            window = ready!(self.poll_body(cx))?;
        }
        if self.held.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if window < self.held.len() {
            self.stream.reserve_capacity(self.held.len());
            window = ready!(self.poll_window(cx))?;
        }
        let part = self.held.split_to(window.min(self.held.len()));
        let bytes = part.len();
        self.entry.share.let_go(bytes, true);
        let is_last = self.held.is_empty() && self.body.is_end_stream();
        self.send(part, is_last)?;
        Poll::Ready(if is_last { Err(PumpEnd::Whole) } else { Ok(bytes) })
    }

    fn send(&mut self, data: Bytes, is_last: bool) -> Result<(), PumpEnd> {
        // It fails only for a stream that has ended.
        self.stream.send_data(data, is_last).map_err(|_| PumpEnd::Cancelled)
    }

    /// Takes the next frame of the body; the error is its end. Returns the window that there is for it.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, PumpEnd>> {
        // A byte of window shows that the client takes something. More than is at hand would be missing from other streams.
        self.stream.reserve_capacity(self.body.ready_bytes().clamp(1, TURN_BYTES));
        let window = ready!(self.poll_window(cx))?;
        if self.entry.share.poll_room(cx).is_pending() {
            return self.stand_still(StandstillCause::Room).map(|end| Err(PumpEnd::Broken(end)));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            return self.stand_still(StandstillCause::Backend).map(|end| Err(PumpEnd::Broken(end)));
        };
        self.move_on();
        let end = match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) if data.is_empty() && !self.body.is_end_stream() => return Poll::Ready(Ok(window)),
            Some(Ok(Ok(data))) if !data.is_empty() => {
                self.entry.share.hold(data.len());
                self.held = data;
                return Poll::Ready(Ok(window));
            }
            Some(Ok(Err(frame))) => frame.into_trailers().map_or(PumpEnd::Whole, |trailers| self.end_with(trailers)),
            Some(Err(_)) => PumpEnd::Broken(Reason::INTERNAL_ERROR),
            Some(Ok(Ok(_))) | None => self.send(Bytes::new(), true).err().unwrap_or(PumpEnd::Whole),
        };
        Poll::Ready(Err(end))
    }

    fn end_with(&mut self, mut trailers: HeaderMap) -> PumpEnd {
        edit_trailers(&mut trailers);
        self.stream.send_trailers(trailers).map_or(PumpEnd::Cancelled, |()| PumpEnd::Whole)
    }

    /// Waits for a window and returns its bytes.
    fn poll_window(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, PumpEnd>> {
        loop {
            let window = self.stream.capacity();
            if window > 0 {
                return Poll::Ready(Ok(window));
            }
            match self.stream.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(_) => return Poll::Ready(Err(PumpEnd::Cancelled)),
                Poll::Pending => {
                    return self.stand_still(StandstillCause::Window).map(|end| Err(PumpEnd::Broken(end)));
                }
            }
        }
    }

    /// Notes a standstill. It is ready, with the reason for a reset, once that has lasted too long.
    fn stand_still(&mut self, cause: StandstillCause) -> Poll<Reason> {
        let (worker, connection) = (&self.entry.share.worker, &self.entry.share.client.state);
        let now = worker.ticks.now();
        if let Some(standstill) = self.standstill.filter(|standstill| standstill.cause == cause) {
            if now < standstill.due {
                return Poll::Pending;
            }
            // The other streams move.
            let is_served = cause == StandstillCause::Room && connection.last_progress() > standstill.progress;
            if !is_served {
                let is_backend = cause == StandstillCause::Backend;
                return Poll::Ready(if is_backend { Reason::INTERNAL_ERROR } else { Reason::CANCEL });
            }
        }
        let ticks = match cause {
            StandstillCause::Window | StandstillCause::Room => Ticks::steps(worker.settings.window_timeout),
            StandstillCause::Backend => self.entry.client.state.silence_max(),
        };
        let due = now.saturating_add(ticks).saturating_add(1);
        self.standstill = Some(Standstill { cause, due, progress: connection.last_progress() });
        self.entry.client.wake_at(&worker.connections, Some(due).filter(|due| *due < u32::MAX));
        Poll::Pending
    }

    fn move_on(&mut self) {
        if self.standstill.take().is_some() {
            self.entry.client.wake_at(&self.entry.share.worker.connections, None);
        }
    }
}

impl Drop for Pump<'_> {
    fn drop(&mut self) {
        self.entry.share.let_go(self.held.len(), false);
    }
}
