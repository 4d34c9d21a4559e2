//! The direction of a stream in which its response goes.
//!
//! Invariants: a response that is not whole ends with a reset, for whatever reason.

use std::future::poll_fn;

use bytes::Bytes;
use h3::error::{Code, StreamError};
use h3::server::RequestStream;
use http::{HeaderMap, Response};

use crate::proxy::http2::stream_share::StreamShare;
use crate::proxy::http3::pace::{StreamPace, WaitEnd};
use crate::proxy::http3::transport::QuicSend;
use crate::proxy::http3::unacked::StreamUnacked;
use crate::proxy::ticks::Ticks;
use crate::traffic::edit_trailers;

/// The bytes of a body that are sent as one frame. A client that takes fewer in the time limit is given up.
const PART_BYTES: usize = 16 * 1024;

/// A response under way.
pub(super) struct ResponseStream {
    stream: RequestStream<QuicSend, Bytes>,
    unacked: StreamUnacked,
    has_ended: bool,
}

/// Bytes of a body for which the client has no window yet.
struct HeldBytes<'s> {
    share: &'s StreamShare,
    bytes: usize,
}

impl ResponseStream {
    pub(super) fn new(stream: RequestStream<QuicSend, Bytes>, unacked: StreamUnacked) -> Self {
        Self { stream, unacked, has_ended: false }
    }

    /// Sends the head of an interim or final response.
    pub(super) async fn head(&mut self, pace: &StreamPace<'_>, head: Response<()>) -> Result<(), WaitEnd> {
        let sent = pace.wait_for_client(self.stream.send_response(head)).await;
        self.note(pace, sent)
    }

    /// Sends a part of the body.
    pub(super) async fn data(&mut self, pace: &StreamPace<'_>, mut data: Bytes) -> Result<(), WaitEnd> {
        let mut held = HeldBytes::hold(&pace.entry.share, data.len());
        while !data.is_empty() {
            let part = data.split_to(data.len().min(PART_BYTES));
            let bytes = part.len();
            let sent = pace.wait_for_client(self.stream.send_data(part)).await;
            self.note(pace, sent)?;
            held.let_go(bytes);
        }
        Ok(())
    }

    /// Sends the trailers.
    pub(super) async fn trailers(&mut self, pace: &StreamPace<'_>, mut trailers: HeaderMap) -> Result<(), WaitEnd> {
        edit_trailers(&mut trailers);
        let sent = pace.wait_for_client(self.stream.send_trailers(trailers)).await;
        self.note(pace, sent)
    }

    /// Ends the response, and waits until the client has received it.
    pub(super) async fn end(&mut self, pace: &StreamPace<'_>) -> Result<(), WaitEnd> {
        let sent = pace.wait_for_client(self.stream.finish()).await;
        self.note(pace, sent)?;
        // The connection closes itself if the client is gone.
        let limit = Ticks::steps(pace.entry.share.worker.settings.body_idle);
        pace.wait(limit, poll_fn(|cx| pace.poll_end(cx))).await?;
        self.has_ended = true;
        Ok(())
    }

    /// Ends the response before its time.
    pub(super) fn reset(&mut self, code: Code) {
        self.stream.stop_stream(code);
        self.has_ended = true;
    }

    fn note(&mut self, pace: &StreamPace<'_>, sent: Result<Result<(), StreamError>, WaitEnd>) -> Result<(), WaitEnd> {
        self.unacked.note(pace.written());
        pace.entry.share.client.state.progress();
        sent?.map_err(|_| WaitEnd::Cancelled)
    }
}

impl Drop for ResponseStream {
    fn drop(&mut self) {
        if !self.has_ended {
            self.reset(Code::H3_REQUEST_CANCELLED);
        }
    }
}

impl<'s> HeldBytes<'s> {
    fn hold(share: &'s StreamShare, bytes: usize) -> Self {
        share.hold(bytes);
        Self { share, bytes }
    }

    fn let_go(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.share.let_go(bytes, false);
    }
}

impl Drop for HeldBytes<'_> {
    fn drop(&mut self) {
        self.share.let_go(self.bytes, false);
    }
}
