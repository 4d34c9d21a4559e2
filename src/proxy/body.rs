//! Bodies on their way: what is sent to a backend and what is answered to a client, frame by frame.
//!
//! What must hold: a frame is asked for only when the other side can take it, so a body of any size passes in the memory
//! of a few frames; an upstream connection goes back to its pool only behind a response and a request that have both
//! ended; a request's lease lasts until the last of its response is handed over.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::account::Account;
use super::compress::Compressed;
use super::expect::Gate;
use super::forward::Client;
use super::upstream::Upstream;
use super::worker::Worker;
use crate::traffic::{Upload, edit_trailers};

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The request's grew past `max_body_size`.
    #[error("the body is larger than allowed")]
    TooLarge,
    /// The answer has come and gone without it.
    #[error("nobody wants the rest of the body")]
    Abandoned,
    /// Its sender went away, or broke the framing.
    #[error(transparent)]
    Source(#[from] hyper::Error),
    /// It could not be compressed.
    #[error(transparent)]
    Encoder(#[from] io::Error),
}

/// The body of a request to a backend. A copy goes on where the other stands, so that it can be
/// handed to a second connection while nothing of it was taken.
#[derive(Clone)]
pub(super) enum RequestBody {
    None,
    Streamed(Rc<Sending>),
}

/// A request body under way.
pub(super) struct Sending {
    // `None` once nobody wants it any more.
    incoming: RefCell<Option<Incoming>>,
    size: SizeHint,
    gate: Option<Arc<Gate>>,
    waker: RefCell<Option<Waker>>,
    bytes_max: Cell<u64>,
    bytes: Cell<u64>,
    frames: Cell<u64>,
    state: Cell<State>,
    client_is_slow: Cell<bool>,
}

/// How far a request body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Waiting,
    Begun,
    Ended,
    TooLarge,
    Broken,
}

impl RequestBody {
    /// The body of a client's request, to be `held` until the backend wants it.
    pub(super) fn new(incoming: Incoming, held: bool) -> Self {
        if incoming.is_end_stream() {
            return Self::None;
        }
        Self::Streamed(Rc::new(Sending {
            size: incoming.size_hint(),
            incoming: RefCell::new(Some(incoming)),
            gate: held.then(Arc::default),
            waker: RefCell::default(),
            bytes_max: Cell::new(u64::MAX),
            bytes: Cell::new(0),
            frames: Cell::new(0),
            state: Cell::new(State::Waiting),
            client_is_slow: Cell::new(false),
        }))
    }

    pub(super) fn sending(&self) -> Option<&Rc<Sending>> {
        match self {
            Self::None => None,
            Self::Streamed(sending) => Some(sending),
        }
    }

    /// Nobody wants the rest of it. Whether there is a rest.
    pub(super) fn abandon(&self) -> bool {
        self.sending().is_some_and(|sending| sending.abandon())
    }

    /// How far it is, in the words of whoever decides on retries.
    pub(super) fn upload(&self) -> Upload {
        match self.sending().map(|sending| sending.state.get()) {
            None => Upload::None,
            Some(State::Waiting) => Upload::Waiting,
            Some(_) => Upload::Begun,
        }
    }
}

impl Sending {
    pub(super) fn state(&self) -> State {
        self.state.get()
    }

    /// Its declared length is known to be more than `bytes_max`; else it is held to that from here on.
    pub(super) fn exceeds(&self, bytes_max: u64) -> bool {
        self.bytes_max.set(bytes_max);
        self.size.lower() > bytes_max
    }

    /// Whether its length is not known beforehand.
    pub(super) fn is_chunked(&self) -> bool {
        self.size.exact().is_none()
    }

    /// Bytes taken from the client.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Frames taken from the client: a number that rises while it moves.
    pub(super) fn frames(&self) -> u64 {
        self.frames.get()
    }

    /// Whether the backend would take more and the client has not sent it.
    pub(super) fn client_is_slow(&self) -> bool {
        self.client_is_slow.get()
    }

    /// What holds it back, while something does.
    pub(super) fn gate(&self) -> Option<&Arc<Gate>> {
        self.gate.as_ref().filter(|gate| !gate.is_open())
    }

    /// Nobody wants the rest of it. Whether there is a rest.
    fn abandon(&self) -> bool {
        if self.state.get() == State::Ended {
            return false;
        }
        self.incoming.take();
        self.waker.take().into_iter().for_each(Waker::wake);
        self.gate.iter().for_each(|gate| gate.open());
        true
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.borrow().as_ref().is_some_and(Body::is_end_stream)
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(gate) = self.gate() {
            gate.wait(cx);
            return Poll::Pending;
        }
        let polled = match &mut *self.incoming.borrow_mut() {
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => return Poll::Ready(Some(Err(Broken::Abandoned))),
        };
        self.client_is_slow.set(polled.is_pending());
        if polled.is_pending() {
            self.waker.replace(Some(cx.waker().clone()));
        }
        let frame = match ready!(polled) {
            Some(Ok(mut frame)) => {
                frame.trailers_mut().into_iter().for_each(edit_trailers);
                frame
            }
            Some(Err(error)) => {
                self.state.set(State::Broken);
                return Poll::Ready(Some(Err(error.into())));
            }
            None => {
                self.state.set(State::Ended);
                return Poll::Ready(None);
            }
        };
        self.frames.set(self.frames.get() + 1);
        self.bytes.set(self.bytes.get() + frame.data_ref().map_or(0, |data| data.remaining() as u64));
        if self.bytes.get() > self.bytes_max.get() {
            self.state.set(State::TooLarge);
            return Poll::Ready(Some(Err(Broken::TooLarge)));
        }
        let ended = self.is_end_stream();
        self.state.set(if ended { State::Ended } else { State::Begun });
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.sending() {
            None => Poll::Ready(None),
            Some(sending) => sending.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.sending().is_none_or(|sending| sending.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.sending().map_or(SizeHint::with_exact(0), |sending| sending.size)
    }
}

/// The body of an answer to a client.
pub(super) enum Answer {
    /// A page of the proxy's own, or nothing.
    Whole(Option<Bytes>),
    /// A backend's.
    Streamed(Streamed),
    /// The same, compressed. Boxed: rare, and the others should be small.
    Compressed(Box<Compressed>),
}

/// A backend's response body under way.
pub(super) struct Streamed {
    incoming: Incoming,
    /// What broke it off, to be told once what came before has been written.
    broken: Option<hyper::Error>,
    upstream: Option<Upstream>,
    account: Account,
    worker: Rc<Worker>,
    client: Rc<Client>,
}

impl Streamed {
    pub(super) fn new(
        incoming: Incoming,
        upstream: Upstream,
        account: Account,
        worker: Rc<Worker>,
        client: Rc<Client>,
    ) -> Self {
        Self { incoming, broken: None, upstream: Some(upstream), account, worker, client }
    }

    /// The next frame. It is asked for first, for the connection reads on only when it is wanted.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        match &mut self.upstream {
            Some(upstream) if polled.is_pending() => upstream.drive(cx),
            _ => return polled,
        }
        Pin::new(&mut self.incoming).poll_frame(cx)
    }

    /// An error at once would have hyper drop the head and the bytes it has not written yet; first it writes.
    fn break_off<T>(&mut self, error: Option<hyper::Error>, cx: &mut Context<'_>) -> Poll<T> {
        self.account.seen.error = true;
        self.broken = error;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The next frame, or how it ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        let frame = ready!(self.poll_incoming(cx));
        match &frame {
            Some(Ok(_)) => {}
            Some(Err(_)) => return self.break_off(frame.and_then(Result::err), cx),
            None => self.release(),
        }
        Poll::Ready(frame)
    }

    /// A frame goes to the client.
    fn count(&mut self, frame: &Frame<Bytes>) {
        self.account.seen.bytes_sent += frame.data_ref().map_or(0, |data| data.remaining() as u64);
    }

    /// Both messages on the connection have ended.
    fn release(&mut self) {
        let sent = self.account.body.sending().is_none_or(|sending| sending.state() == State::Ended);
        if let Some(upstream) = self.upstream.take().filter(|_| sent) {
            upstream.release(&self.client, self.worker.ticks.now());
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Whole(page) => Poll::Ready(page.take().map(|page| Ok(Frame::data(page)))),
            Self::Streamed(streamed) => {
                let frame = ready!(streamed.poll(cx));
                frame.iter().flatten().for_each(|frame| streamed.count(frame));
                Poll::Ready(frame.map(|frame| frame.map_err(Broken::from)))
            }
            Self::Compressed(compressed) => {
                let frame = ready!(compressed.poll(cx));
                frame.iter().flatten().for_each(|frame| compressed.source.count(frame));
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(page) => page.is_none(),
            Self::Streamed(streamed) => streamed.incoming.is_end_stream(),
            Self::Compressed(compressed) => compressed.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(page) => SizeHint::with_exact(page.as_ref().map_or(0, |page| page.len() as u64)),
            Self::Streamed(streamed) => streamed.incoming.size_hint(),
            Self::Compressed(_) => SizeHint::default(),
        }
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if self.incoming.is_end_stream() {
            self.release();
        }
        if self.account.body.abandon() {
            self.client.phase.linger();
        }
        self.client.phase.answered();
    }
}
