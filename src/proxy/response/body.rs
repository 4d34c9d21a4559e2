//! Answers on their way to clients, frame by frame.
//!
//! What must hold: a frame is asked for only when the client can take it, so a body of any size passes in the memory
//! of a few frames; an upstream connection goes back to its pool only behind a response and a request that have both
//! ended; a request's lease lasts until the last of its response is handed over.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::proxy::context::stats::Account;
use crate::proxy::listener::worker::Worker;
use crate::proxy::request::forward::Client;
use crate::proxy::response::compressed::Compressed;
use crate::proxy::upstream::conn::Upstream;
use crate::proxy::upstream::request_body::State;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
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

/// The body of an answer to a client.
pub(crate) enum Answer {
    /// A page of the proxy's own, or nothing.
    Whole(Option<Bytes>),
    /// A backend's.
    Streamed(Streamed),
    /// The same, compressed. Boxed: rare, and the others should be small.
    Compressed(Box<Compressed>),
}

/// A backend's response body under way.
pub(crate) struct Streamed {
    incoming: Incoming,
    /// What broke it off, to be told once what came before has been written.
    broken: Option<hyper::Error>,
    upstream: Option<Upstream>,
    account: Account,
    worker: Rc<Worker>,
    client: Rc<Client>,
}

impl Streamed {
    pub(crate) fn new(
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
        self.client.phase.break_off();
        self.broken = error;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// The next frame, or how it ended.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
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
