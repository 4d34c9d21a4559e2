//! The times of a stream: how long it may wait for its client or its backend.
//!
//! Invariants: a wait for the client ends after the time limit unless the stream moved meanwhile; a stream whose client has given it up
//! waits for nothing.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll};

use crate::proxy::http2::stream_share::StreamEntry;
use crate::proxy::http3::transport::{SendEnd, StreamWatch};
use crate::proxy::ticks::Ticks;

/// The reason why a stream waits no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitEnd {
    /// The client does not want the response any more.
    Cancelled,
    /// Nothing moved for too long.
    TooLong,
}

/// The times of a stream.
pub(super) struct StreamPace<'e> {
    pub(super) entry: &'e StreamEntry,
    pub(super) watch: &'e RefCell<StreamWatch>,
}

impl StreamPace<'_> {
    /// Waits for `work`, for at most `ticks` without a byte that went to the client; `u32::MAX` for no limit.
    pub(super) async fn wait<T>(&self, ticks: u32, work: impl Future<Output = T>) -> Result<T, WaitEnd> {
        let (worker, client) = (&self.entry.share.worker, &self.entry.client);
        let mut work = pin!(work);
        let (before, mut due) = (client.state.due(), None);
        let mut written = self.written();
        let waited = poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            if self.poll_end(cx) == Poll::Ready(SendEnd::Stopped) {
                return Poll::Ready(Err(WaitEnd::Cancelled));
            }
            let now = worker.ticks.now();
            if due.is_some_and(|due| now < due) {
                return Poll::Pending;
            }
            if due.is_some() && self.written() == written {
                return Poll::Ready(Err(WaitEnd::TooLong));
            }
            written = self.written();
            let next = now.saturating_add(ticks).saturating_add(1);
            due = Some(next);
            client.wake_at(&worker.connections, Some(next).filter(|due| *due < u32::MAX));
            Poll::Pending
        })
        .await;
        if due.is_some() {
            client.wake_at(&worker.connections, before);
        }
        waited
    }

    /// Waits for `work` that depends on what the client reads.
    pub(super) async fn wait_for_client<T>(&self, work: impl Future<Output = T>) -> Result<T, WaitEnd> {
        self.wait(Ticks::steps(self.entry.share.worker.settings.window_timeout), work).await
    }

    /// Waits until a body may be read. The other streams of the connection may move meanwhile.
    pub(super) async fn wait_for_room(&self) -> Result<(), WaitEnd> {
        let (share, state) = (&self.entry.share, &self.entry.share.client.state);
        loop {
            let progress = state.last_progress();
            match self.wait_for_client(poll_fn(|cx| share.poll_room(cx))).await {
                Err(WaitEnd::TooLong) if state.last_progress() > progress => {}
                waited => return waited,
            }
        }
    }

    /// Waits for the end of the direction to the client.
    pub(super) fn poll_end(&self, cx: &mut Context<'_>) -> Poll<SendEnd> {
        self.watch.borrow_mut().poll_end(cx)
    }

    /// Returns the number of bytes that the connection has taken.
    pub(super) fn written(&self) -> u64 {
        self.watch.borrow().written()
    }
}
