//! A client's connection as hyper sees it: a socket, and what the connection is doing.
//!
//! One coarse sweep per worker looks at every connection's phase once a second; no request sets a timer for it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::Settings;

/// Seconds since the worker started, as its sweep counts them. Cheap to read; a second late at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Ticks(Arc<AtomicU32>);

impl Ticks {
    pub(super) fn now(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn advance(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// Nothing came yet.
    Fresh,
    /// Between requests.
    Idle,
    /// Part of a head came.
    Head,
    /// A request is with its backend, under the route's own timeout.
    Busy,
    /// A response is on its way.
    Answering,
    /// Both sides speak another protocol.
    Tunnel,
}

/// A connection's stage, and the tick of its last progress. Atomics because hyper wants an upgradable connection
/// to be `Send`; only one thread ever touches them.
#[derive(Debug)]
pub(super) struct Phase {
    stage: AtomicU8,
    since: AtomicU32,
    ticks: Ticks,
}

impl Phase {
    pub(super) fn new(stage: Stage, ticks: &Ticks) -> Arc<Self> {
        Arc::new(Self { stage: AtomicU8::new(stage as u8), since: AtomicU32::new(ticks.now()), ticks: ticks.clone() })
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
        self.progress();
    }

    pub(super) fn progress(&self) {
        self.since.store(self.ticks.now(), Ordering::Relaxed);
    }

    fn is(&self, stage: Stage) -> bool {
        self.stage.load(Ordering::Relaxed) == stage as u8
    }

    /// Bytes came from the client.
    fn on_read(&self) {
        if self.is(Stage::Idle) || self.is(Stage::Fresh) {
            self.enter(Stage::Head);
        } else if !self.is(Stage::Head) {
            // A head has so long as a whole, however slowly it trickles in.
            self.progress();
        }
    }

    /// Whether it has stood still for too long.
    pub(super) fn is_overdue(&self, settings: &Settings) -> bool {
        let limit = match self.stage.load(Ordering::Relaxed) {
            stage if stage == Stage::Fresh as u8 || stage == Stage::Head as u8 => settings.header_timeout,
            stage if stage == Stage::Idle as u8 => settings.keep_alive,
            stage if stage == Stage::Answering as u8 => settings.body_idle,
            stage if stage == Stage::Tunnel as u8 => settings.tunnel_idle,
            _ => return false,
        };
        let still = self.ticks.now().saturating_sub(self.since.load(Ordering::Relaxed));
        Duration::from_secs(u64::from(still)) > limit
    }
}

/// The socket.
pub(super) struct Wire {
    socket: TokioIo<TcpStream>,
    phase: Arc<Phase>,
}

impl Wire {
    pub(super) fn new(socket: TcpStream, phase: Arc<Phase>) -> Self {
        Self { socket: TokioIo::new(socket), phase }
    }
}

impl Read for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.socket).poll_read(cx, buf);
        if read.is_ready() {
            self.phase.on_read();
        }
        read
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, buf);
        if written.is_ready() {
            self.phase.progress();
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        if written.is_ready() {
            self.phase.progress();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
