//! The body of a request on its way to a backend, frame by frame.
//!
//! Invariants: a frame is asked for only when the backend can take it; a body is sent again only from its beginning.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use crate::memory_budget::MemoryBudget;
use crate::proxy::body_error::BodyError;
use crate::proxy::client::client_body::ClientBody;
use crate::proxy::upstream::continue_gate::ContinueGate;
use crate::proxy::upstream::kept_body::KeptBody;
use crate::traffic::{UploadState, edit_trailers};

/// The body of a request to a backend. A clone shares its progress, so that a second connection can take it while
/// nothing of it was sent.
#[derive(Clone)]
pub(crate) enum RequestBody {
    None,
    Streamed(Rc<StreamedRequestBody>),
}

/// A request body under way.
pub(crate) struct StreamedRequestBody {
    // `None` once the rest is not needed.
    incoming: RefCell<Option<ClientBody>>,
    size: SizeHint,
    gate: Option<ContinueGate>,
    waker: RefCell<Option<Waker>>,
    bytes_max: Cell<u64>,
    bytes: Cell<u64>,
    frames: Cell<u64>,
    state: Cell<UploadProgress>,
    client_is_slow: Cell<bool>,
    // A copy of the bytes sent so far, if they may have to be sent again.
    kept: RefCell<Option<KeptBody>>,
    // The bytes that are sent again before anything else.
    again: RefCell<Option<Bytes>>,
    // True once all of it was taken from the client.
    whole: Cell<bool>,
}

/// The progress of a request body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UploadProgress {
    Waiting,
    Begun,
    Ended,
    TooLarge,
    Broken,
}

impl RequestBody {
    /// Returns the body of a client's request. A body that is `held` waits until the backend asks for it.
    pub(crate) fn new(incoming: ClientBody, held: bool) -> Self {
        if incoming.is_end_stream() {
            return Self::None;
        }
        Self::Streamed(Rc::new(StreamedRequestBody {
            size: incoming.size_hint(),
            incoming: RefCell::new(Some(incoming)),
            gate: held.then(ContinueGate::default),
            waker: RefCell::default(),
            bytes_max: Cell::new(u64::MAX),
            bytes: Cell::new(0),
            frames: Cell::new(0),
            state: Cell::new(UploadProgress::Waiting),
            client_is_slow: Cell::new(false),
            kept: RefCell::default(),
            again: RefCell::default(),
            whole: Cell::new(false),
        }))
    }

    pub(crate) fn sending(&self) -> Option<&Rc<StreamedRequestBody>> {
        match self {
            Self::None => None,
            Self::Streamed(sending) => Some(sending),
        }
    }

    /// True if it is held back until the backend asks for it.
    pub(crate) fn is_held(&self) -> bool {
        self.sending().is_some_and(|sending| sending.gate().is_some())
    }

    /// Lets a body pass that is held back.
    pub(crate) fn open_gate(&self) {
        self.sending().and_then(|sending| sending.gate()).into_iter().for_each(ContinueGate::open);
    }

    /// Gives up the rest of the body. Returns true if there is a rest.
    pub(crate) fn abandon(&self) -> bool {
        self.sending().is_some_and(|sending| sending.abandon())
    }

    /// Returns the progress in the terms of the retry decision.
    pub(crate) fn upload(&self) -> UploadState {
        match self.sending().map(|sending| sending.state.get()) {
            None => UploadState::None,
            Some(UploadProgress::Waiting) => UploadState::Waiting,
            Some(_) if self.sending().is_some_and(|sending| sending.kept.borrow().is_some()) => UploadState::Kept,
            Some(_) => UploadState::Begun,
        }
    }

    /// Keeps a copy of all that is sent from here on, if `wanted` and nothing was sent yet.
    pub(crate) fn keep_for_another_try(&self, wanted: bool, memory: &MemoryBudget) {
        if let Some(sending) = self.sending().filter(|sending| wanted && sending.state.get() == UploadProgress::Waiting)
        {
            *sending.kept.borrow_mut() = KeptBody::new(memory);
        }
    }

    /// Drops the copy: the body will not be sent again.
    pub(crate) fn forget(&self) {
        self.sending().into_iter().for_each(|sending| drop(sending.kept.take()));
    }

    /// Starts again at the beginning, if a copy was kept.
    pub(crate) fn rewind(&self) {
        let Some(sending) = self.sending() else { return };
        if let Some(kept) = sending.kept.take() {
            *sending.again.borrow_mut() = Some(kept.copy());
            sending.state.set(UploadProgress::Waiting);
        }
    }
}

impl StreamedRequestBody {
    pub(crate) fn state(&self) -> UploadProgress {
        self.state.get()
    }

    /// True if the declared length is more than `bytes_max`. Otherwise that limit holds from here on.
    pub(crate) fn exceeds(&self, bytes_max: u64) -> bool {
        self.bytes_max.set(bytes_max);
        self.size.lower() > bytes_max
    }

    /// Returns the most bytes that are taken.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.bytes_max.get()
    }

    /// Returns the number of bytes taken from the client.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Returns the number of frames taken from the client, which rises while the body moves.
    pub(crate) fn frames(&self) -> u64 {
        self.frames.get()
    }

    /// True if the backend would take more and the client has not sent it.
    pub(crate) fn client_is_slow(&self) -> bool {
        self.client_is_slow.get()
    }

    /// Returns the gate that holds it back, while it is closed.
    pub(crate) fn gate(&self) -> Option<&ContinueGate> {
        self.gate.as_ref().filter(|gate| !gate.is_open())
    }

    /// Gives up the rest of the body. Returns true if there is a rest.
    fn abandon(&self) -> bool {
        if self.state.get() == UploadProgress::Ended {
            return false;
        }
        self.incoming.take();
        self.waker.take().into_iter().for_each(Waker::wake);
        self.gate.iter().for_each(ContinueGate::open);
        true
    }

    fn is_end_stream(&self) -> bool {
        self.again.borrow().is_none() && self.incoming.borrow().as_ref().is_some_and(Body::is_end_stream)
    }

    /// Returns the copy of the bytes that are sent again.
    fn repeat(&self) -> Option<Frame<Bytes>> {
        let again = self.again.take()?;
        self.frames.set(self.frames.get() + 1);
        self.state.set(if self.whole.get() { UploadProgress::Ended } else { UploadProgress::Begun });
        Some(Frame::data(again))
    }

    /// Adds a frame to the copy. The copy is dropped if there is no room.
    fn keep(&self, frame: &Frame<Bytes>) {
        let mut kept = self.kept.borrow_mut();
        let fits = |kept: &mut KeptBody| frame.data_ref().is_some_and(|data| kept.keep(data));
        if kept.as_mut().is_some_and(|kept| !fits(kept)) {
            *kept = None;
        }
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(gate) = self.gate() {
            gate.wait(cx);
            return Poll::Pending;
        }
        if let Some(frame) = self.repeat() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let polled = match &mut *self.incoming.borrow_mut() {
            Some(_) if self.whole.get() => Poll::Ready(None),
            Some(incoming) => Pin::new(incoming).poll_frame(cx),
            None => return Poll::Ready(Some(Err(BodyError::Abandoned))),
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
                self.state.set(UploadProgress::Broken);
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                self.whole.set(true);
                self.state.set(UploadProgress::Ended);
                return Poll::Ready(None);
            }
        };
        self.frames.set(self.frames.get() + 1);
        self.bytes.set(self.bytes.get() + frame.data_ref().map_or(0, |data| data.remaining() as u64));
        if self.bytes.get() > self.bytes_max.get() {
            self.state.set(UploadProgress::TooLarge);
            return Poll::Ready(Some(Err(BodyError::TooLarge)));
        }
        self.keep(&frame);
        let ended = self.is_end_stream();
        self.whole.set(ended);
        self.state.set(if ended { UploadProgress::Ended } else { UploadProgress::Begun });
        Poll::Ready(Some(Ok(frame)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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
