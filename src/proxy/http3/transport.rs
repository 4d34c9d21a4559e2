//! The streams of a QUIC connection, as `h3` wants them.
//!
//! Invariants: every byte that a client sends passes its `FrameGuard`; a stream that nobody reads any more is stopped with
//! `H3_NO_ERROR`, after which a client still reads the response (RFC 9114 §4.1.1).

use std::cell::Cell;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use h3::error::Code;
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use quinn::{ConnectionError, ReadError, StoppedError, VarInt, WriteError};

use super::frame_guard::{FrameFault, FrameGuard};

/// The most packets that are read at once.
const READ_PACKETS_MAX: usize = 16;

type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, ConnectionError>>>>;

/// A QUIC connection.
pub(super) struct QuicConnection {
    connection: quinn::Connection,
    accepting_both: Option<Waiting<(quinn::SendStream, quinn::RecvStream)>>,
    accepting_one: Option<Waiting<quinn::RecvStream>>,
    opening: QuicOpener,
    // The bytes of unfinished frames on all streams.
    kept: Rc<Cell<usize>>,
}

/// Opens streams.
pub(super) struct QuicOpener {
    connection: quinn::Connection,
    opening: Option<Waiting<quinn::SendStream>>,
}

/// A stream in both directions.
pub(super) struct QuicStream {
    send: QuicSend,
    recv: QuicRecv,
}

/// The direction to the client.
pub(super) struct QuicSend {
    stream: quinn::SendStream,
    writing: Option<WriteBuf<Bytes>>,
    written: Rc<Cell<u64>>,
}

/// The direction from the client.
pub(super) struct QuicRecv {
    connection: quinn::Connection,
    stream: quinn::RecvStream,
    guard: FrameGuard,
}

/// Watches the direction to the client while `h3` has the stream.
pub(super) struct StreamWatch {
    stopped: Pin<Box<dyn Future<Output = Result<Option<VarInt>, StoppedError>>>>,
    ended: Option<SendEnd>,
    written: Rc<Cell<u64>>,
}

/// The end of the direction to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SendEnd {
    /// The client has received all of it.
    Received,
    /// The client does not want the rest, or the connection has ended.
    Stopped,
}

impl QuicConnection {
    pub(super) fn new(connection: quinn::Connection) -> Self {
        let opening = QuicOpener { connection: connection.clone(), opening: None };
        Self { connection, accepting_both: None, accepting_one: None, opening, kept: Rc::default() }
    }

    fn receiving(&self, stream: quinn::RecvStream, guard: FrameGuard) -> QuicRecv {
        QuicRecv { connection: self.connection.clone(), stream, guard }
    }
}

impl QuicStream {
    /// Returns a watch over the direction to the client.
    pub(super) fn watch(&self) -> StreamWatch {
        let (stopped, written) = (Box::pin(self.send.stream.stopped()), Rc::clone(&self.send.written));
        StreamWatch { stopped, ended: None, written }
    }
}

impl StreamWatch {
    /// Waits for the end of the direction to the client.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<SendEnd> {
        if self.ended.is_none() {
            let stopped = ready!(self.stopped.as_mut().poll(cx));
            self.ended = Some(if stopped == Ok(None) { SendEnd::Received } else { SendEnd::Stopped });
        }
        Poll::Ready(self.ended.unwrap_or(SendEnd::Stopped))
    }

    /// Returns the number of bytes that the connection has taken.
    pub(super) fn written(&self) -> u64 {
        self.written.get()
    }
}

impl quic::Connection<Bytes> for QuicConnection {
    type RecvStream = QuicRecv;
    type OpenStreams = QuicOpener;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<QuicRecv, ConnectionErrorIncoming>> {
        let connection = &self.connection;
        let begin = || -> Waiting<_> {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_uni().await })
        };
        let accepted = ready!(self.accepting_one.get_or_insert_with(begin).as_mut().poll(cx));
        self.accepting_one = None;
        let stream = accepted.map_err(connection_error)?;
        Poll::Ready(Ok(self.receiving(stream, FrameGuard::of_one_direction(&self.kept))))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<QuicStream, ConnectionErrorIncoming>> {
        let connection = &self.connection;
        let begin = || -> Waiting<_> {
            let connection = connection.clone();
            Box::pin(async move { connection.accept_bi().await })
        };
        let accepted = ready!(self.accepting_both.get_or_insert_with(begin).as_mut().poll(cx));
        self.accepting_both = None;
        let (send, recv) = accepted.map_err(connection_error)?;
        let recv = self.receiving(recv, FrameGuard::of_request(&self.kept));
        Poll::Ready(Ok(QuicStream { send: QuicSend::new(send), recv }))
    }

    fn opener(&self) -> QuicOpener {
        QuicOpener { connection: self.connection.clone(), opening: None }
    }
}

impl quic::OpenStreams<Bytes> for QuicConnection {
    type BidiStream = QuicStream;
    type SendStream = QuicSend;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<QuicStream, StreamErrorIncoming>> {
        self.opening.poll_open_bidi(cx)
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<QuicSend, StreamErrorIncoming>> {
        self.opening.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.opening.close(code, reason);
    }
}

impl quic::OpenStreams<Bytes> for QuicOpener {
    type BidiStream = QuicStream;
    type SendStream = QuicSend;

    /// A server opens no such streams (RFC 9114 §6.1).
    fn poll_open_bidi(&mut self, _: &mut Context<'_>) -> Poll<Result<QuicStream, StreamErrorIncoming>> {
        Poll::Ready(Err(StreamErrorIncoming::Unknown(Box::new(io::Error::from(io::ErrorKind::Unsupported)))))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<QuicSend, StreamErrorIncoming>> {
        let connection = &self.connection;
        let begin = || -> Waiting<_> {
            let connection = connection.clone();
            Box::pin(async move { connection.open_uni().await })
        };
        let opened = ready!(self.opening.get_or_insert_with(begin).as_mut().poll(cx));
        self.opening = None;
        Poll::Ready(opened.map(QuicSend::new).map_err(of_connection))
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.connection.close(var_int(code.value()), reason);
    }
}

impl QuicSend {
    fn new(stream: quinn::SendStream) -> Self {
        Self { stream, writing: None, written: Rc::default() }
    }
}

impl Drop for QuicSend {
    /// Resets a stream on which nothing was sent. `quinn` would end it as if it were whole.
    fn drop(&mut self) {
        if self.written.get() == 0 {
            quic::SendStream::reset(self, Code::H3_REQUEST_CANCELLED.value());
        }
    }
}

impl quic::SendStream<Bytes> for QuicSend {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        while let Some(data) = self.writing.as_mut().filter(Buf::has_remaining) {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, data.chunk())).map_err(write_error)?;
            data.advance(written);
            self.written.set(self.written.get() + written as u64);
        }
        self.writing = None;
        Poll::Ready(Ok(()))
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        // `h3` waits until the stream is ready. The rest of a frame whose wait was given up would be lost otherwise.
        if self.writing.is_some() {
            return Err(StreamErrorIncoming::Unknown(Box::new(io::Error::from(io::ErrorKind::WouldBlock))));
        }
        self.writing = Some(data.into());
        Ok(())
    }

    fn poll_finish(&mut self, _: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        Poll::Ready(self.stream.finish().map_err(|error| StreamErrorIncoming::Unknown(Box::new(error))))
    }

    fn reset(&mut self, code: u64) {
        // It fails only for a stream that has ended.
        let _ = self.stream.reset(var_int(code));
    }

    fn send_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

impl quic::RecvStream for QuicRecv {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        let mut packets = [const { Bytes::new() }; READ_PACKETS_MAX];
        let read = ready!(pin!(self.stream.read_chunks(&mut packets)).poll(cx)).map_err(read_error)?;
        let data = read.map(|count| joined(packets.get(..count).unwrap_or_default()));
        let seen = match &data {
            Some(data) => self.guard.see(data),
            None => self.guard.end(),
        };
        Poll::Ready(seen.map(|()| data).map_err(|fault| self.fail(fault)))
    }

    fn stop_sending(&mut self, code: u64) {
        // It fails only for a stream that has ended.
        let _ = self.stream.stop(var_int(code));
    }

    fn recv_id(&self) -> StreamId {
        stream_id(self.stream.id())
    }
}

impl QuicRecv {
    /// Ends the connection of a client that sends such frames.
    fn fail(&self, fault: FrameFault) -> StreamErrorIncoming {
        self.connection.close(var_int(Code::H3_EXCESSIVE_LOAD.value()), b"");
        let connection_error = ConnectionErrorIncoming::Undefined(std::sync::Arc::new(fault));
        StreamErrorIncoming::ConnectionErrorIncoming { connection_error }
    }
}

impl Drop for QuicRecv {
    fn drop(&mut self) {
        quic::RecvStream::stop_sending(self, Code::H3_NO_ERROR.value());
    }
}

impl quic::SendStream<Bytes> for QuicStream {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.send.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.send.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.send.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.send.send_id()
    }
}

impl quic::RecvStream for QuicStream {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.recv.poll_data(cx)
    }

    fn stop_sending(&mut self, code: u64) {
        self.recv.stop_sending(code);
    }

    fn recv_id(&self) -> StreamId {
        self.recv.recv_id()
    }
}

impl quic::BidiStream<Bytes> for QuicStream {
    type SendStream = QuicSend;
    type RecvStream = QuicRecv;

    fn split(self) -> (QuicSend, QuicRecv) {
        (self.send, self.recv)
    }
}

/// Joins packets: a body in large parts costs less on its way than in the size of packets.
fn joined(packets: &[Bytes]) -> Bytes {
    if let [one] = packets {
        return one.clone();
    }
    let mut joined = BytesMut::with_capacity(packets.iter().map(Bytes::len).sum());
    packets.iter().for_each(|packet| joined.extend_from_slice(packet));
    joined.freeze()
}

/// Codes and ids of `h3` are always numbers of QUIC.
fn var_int(number: u64) -> VarInt {
    VarInt::from_u64(number).unwrap_or(VarInt::MAX)
}

fn stream_id(id: quinn::StreamId) -> StreamId {
    // It fails only for numbers that QUIC does not have (RFC 9000 §2.1).
    StreamId::try_from(u64::from(VarInt::from(id))).expect("a number of QUIC")
}

fn connection_error(error: ConnectionError) -> ConnectionErrorIncoming {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            ConnectionErrorIncoming::ApplicationClose { error_code: close.error_code.into() }
        }
        ConnectionError::TimedOut => ConnectionErrorIncoming::Timeout,
        other => ConnectionErrorIncoming::Undefined(std::sync::Arc::new(other)),
    }
}

fn of_connection(error: ConnectionError) -> StreamErrorIncoming {
    StreamErrorIncoming::ConnectionErrorIncoming { connection_error: connection_error(error) }
}

fn read_error(error: ReadError) -> StreamErrorIncoming {
    match error {
        ReadError::Reset(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into() },
        ReadError::ConnectionLost(error) => of_connection(error),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}

fn write_error(error: WriteError) -> StreamErrorIncoming {
    match error {
        WriteError::Stopped(code) => StreamErrorIncoming::StreamTerminated { error_code: code.into() },
        WriteError::ConnectionLost(error) => of_connection(error),
        other => StreamErrorIncoming::Unknown(Box::new(other)),
    }
}
