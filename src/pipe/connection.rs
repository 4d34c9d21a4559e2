//! One client connection: it waits for an event, executes lines or passes on notices, writes replies, and closes.
//!
//! It neither parses nor renders; `execute` executes lines. Invariants: a session learns that its connection has ended,
//! whatever the reason; a slow or silent client uses at most one connection's memory.

use std::io;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep, timeout};

use crate::connection_limits::{ConnectionGuard, ConnectionStage};
use crate::domain::{Error, Kind, Origin};
use crate::lifecycle::Lifecycle;
use crate::memory_budget::{MemoryFull, MemoryShare};
use crate::registry::{CallOrigin, Interface, Mailbox, MailboxMessage, QueryTally, Registry};

use super::foreign::{self, ForeignProtocol};
use super::line::LineBuffer;
use super::parse::Parser;
use super::render::{MaintenanceOutcome, ReplyBuffer};
use super::settings::PipeSettings;

/// The maximum number of maintenance requests of one connection that wait for their outcome.
pub(super) const OUTCOMES_MAX: usize = 64;
/// The maximum length in bytes of a reply with a compressed payload, with its line end.
const COMPRESSED_BYTES_MAX: usize = 1024 * 1024;
/// The time that the client may take to read its replies; the connection is closed otherwise.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The time that the client may take to read replies when the memory budget is used up.
const SHORT_PATIENCE: Duration = Duration::from_secs(1);
/// The time that the client may take to read the last lines and close.
const LINGER: Duration = Duration::from_secs(1);

/// A connection of one client.
pub(super) struct Connection<S> {
    pub(super) stream: S,
    pub(super) registry: Registry,
    pub(super) settings: PipeSettings,
    pub(super) lifecycle: Lifecycle,
    pub(super) parser: Parser,
    pub(super) replies: ReplyBuffer,
    pub(super) mailbox: Mailbox,
    /// The sender for outcomes of maintenance requests. Each request reserves a place in the channel.
    pub(super) outcomes_in: mpsc::Sender<Box<MaintenanceOutcome>>,
    outcomes: mpsc::Receiver<Box<MaintenanceOutcome>>,
    /// The address by which the client's share is counted, if it is known.
    pub(super) origin: Option<Origin>,
    /// The origin of its commands.
    pub(super) call_origin: CallOrigin,
    /// The queries that are not counted yet.
    pub(super) tally: QueryTally,
    /// True once the session is shut down, or the client speaks another protocol.
    pub(super) closing: bool,
    /// True once the client has sent a command.
    pub(super) understood: bool,
    foreign: Option<ForeignProtocol>,
    /// The part of the shared memory budget that the connection holds.
    share: MemoryShare,
    guard: ConnectionGuard,
}

/// An event that wakes a connection.
enum Wakeup {
    Bytes { fresh: bool },
    End,
    Message(MailboxMessage),
    Outcome(Box<MaintenanceOutcome>),
    OutOfPatience,
    MakeWay,
    Stopping,
}

/// The reason for the end of a connection, as the log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CloseReason {
    Client,
    Shutdown,
    Foreign(ForeignProtocol),
    Stopping,
    Busy,
    Silence,
    MadeWay,
    NoMemory,
}

impl CloseReason {
    fn name(self) -> &'static str {
        match self {
            CloseReason::Client => "closed by the client",
            CloseReason::Shutdown => "session shut down",
            CloseReason::Foreign(ForeignProtocol::Http) => "it speaks HTTP",
            CloseReason::Foreign(ForeignProtocol::Tls) => "it speaks TLS",
            CloseReason::Stopping => "server stopping",
            CloseReason::Busy => "server stopping, in the middle of what the client sent",
            CloseReason::Silence => "timed out",
            CloseReason::MadeWay => "made way for another",
            CloseReason::NoMemory => "no memory left for its line",
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Creates the connection of a new client.
    pub(super) fn new(
        stream: S,
        guard: ConnectionGuard,
        registry: Registry,
        settings: PipeSettings,
        lifecycle: Lifecycle,
        nonce: fn() -> u128,
    ) -> Self {
        let mailbox = registry.open_mailbox();
        let (outcomes_in, outcomes) = mpsc::channel(OUTCOMES_MAX);
        Self {
            stream,
            guard,
            registry,
            share: settings.memory.connection(),
            lifecycle,
            parser: Parser::new(mailbox.connection(), nonce, settings.max_reply),
            replies: ReplyBuffer::new(settings.max_reply, COMPRESSED_BYTES_MAX),
            mailbox,
            outcomes_in,
            outcomes,
            origin: None,
            call_origin: CallOrigin::new(Interface::Pipe, None),
            tally: QueryTally::default(),
            closing: false,
            understood: false,
            foreign: None,
            settings,
        }
    }

    /// Runs until either side ends the connection. Returns the reason in words for the log.
    pub(super) async fn run(mut self) -> &'static str {
        let result = AssertUnwindSafe(self.run_loop()).catch_unwind().await;
        self.mailbox.leave();
        let result = result.unwrap_or_else(|panic| resume_unwind(panic));
        let name = result.as_ref().map_or("broken", |reason| reason.name());
        if let Ok(reason) = result {
            // Ignored: the client may be gone already.
            let _ = self.close(reason).await;
        }
        name
    }

    async fn run_loop(&mut self) -> io::Result<CloseReason> {
        let stopping = self.lifecycle.stopping().clone();
        let mut stopped = pin!(stopping.cancelled());
        let mut patience = pin!(sleep(self.settings.idle_timeout));
        let mut lines = LineBuffer::new(self.settings.max_line);
        while !self.closing {
            let in_use = self.is_in_use();
            self.enter_stage(in_use, &lines);
            let heard = self.wait(&mut lines, stopped.as_mut(), patience.as_mut()).await?;
            self.guard.activity().enter(ConnectionStage::Used);
            match heard {
                Wakeup::Bytes { fresh } => {
                    if let Some(end) = self.execute_read_lines(&mut lines).await? {
                        return Ok(end);
                    }
                    if fresh {
                        patience.set(sleep(self.patience_with(&lines)));
                    }
                }
                Wakeup::Message(message) => self.append_message(&message),
                Wakeup::Outcome(outcome) => self.replies.outcome(&outcome),
                Wakeup::OutOfPatience if lines.is_unfinished() || !self.holds_session() => {
                    return Ok(CloseReason::Silence);
                }
                Wakeup::OutOfPatience => {
                    lines.shrink();
                    self.share.shrink();
                    patience.set(sleep(self.settings.idle_timeout));
                }
                Wakeup::MakeWay if in_use => {}
                Wakeup::MakeWay => return Ok(CloseReason::MadeWay),
                Wakeup::End => return Ok(CloseReason::Client),
                Wakeup::Stopping => return self.wind_down(&mut lines).await,
            }
            self.append_pending();
            self.flush().await?;
        }
        Ok(self.close_reason())
    }

    /// Returns the reason for closing.
    pub(super) fn close_reason(&self) -> CloseReason {
        self.foreign.map_or(CloseReason::Shutdown, CloseReason::Foreign)
    }

    /// Executes the lines that were read. Returns the reason if the connection ends.
    pub(super) async fn execute_read_lines(&mut self, lines: &mut LineBuffer) -> io::Result<Option<CloseReason>> {
        // Notices about the session come before the replies about it.
        self.append_pending();
        self.execute_batch(lines.complete()).await?;
        lines.release();
        if !self.closing && foreign::is_client_hello(lines.unfinished()) {
            self.refuse_protocol(ForeignProtocol::Tls);
        }
        if self.share.set(lines.held()).is_err() {
            self.replies.error(None, &Error::new(Kind::Limited, MemoryFull.to_string()));
            return Ok(Some(CloseReason::NoMemory));
        }
        Ok(None)
    }

    async fn wait(
        &mut self,
        lines: &mut LineBuffer,
        stopped: Pin<&mut impl Future<Output = ()>>,
        patience: Pin<&mut Sleep>,
    ) -> io::Result<Wakeup> {
        Ok(tokio::select! {
            biased;
            () = stopped => Wakeup::Stopping,
            count = self.stream.read_buf(lines.room()) => if count? == 0 { Wakeup::End } else { Wakeup::Bytes { fresh: lines.appended() } },
            message = self.mailbox.next() => Wakeup::Message(message),
            Some(outcome) = self.outcomes.recv() => Wakeup::Outcome(outcome),
            () = patience => Wakeup::OutOfPatience,
            () = self.guard.activity().asked_to_close() => Wakeup::MakeWay,
        })
    }

    /// Returns true while a session or an outcome depends on the connection.
    fn is_in_use(&self) -> bool {
        self.outcomes_in.capacity() < OUTCOMES_MAX || self.holds_session()
    }

    /// Reports the stage in which the connection waits to the connection limits.
    fn enter_stage(&self, in_use: bool, lines: &LineBuffer) {
        let stage = match self.guard.activity().stage() {
            _ if in_use => ConnectionStage::Used,
            _ if lines.is_unfinished() => ConnectionStage::Reading,
            ConnectionStage::Begun => ConnectionStage::Begun,
            _ => ConnectionStage::Idle,
        };
        self.guard.activity().enter(stage);
    }

    fn patience_with(&self, lines: &LineBuffer) -> Duration {
        if lines.is_unfinished() { self.settings.line_timeout } else { self.settings.idle_timeout }
    }

    /// Refuses a client of another protocol, tells it the right address, and ends the connection.
    pub(super) fn refuse_protocol(&mut self, foreign: ForeignProtocol) {
        self.replies.error(None, &foreign.refusal(self.settings.api));
        self.foreign = Some(foreign);
        self.closing = true;
    }

    pub(super) fn holds_session(&self) -> bool {
        self.mailbox.was_bound() && self.registry.catalog().bound_to(self.mailbox.connection()).is_some()
    }

    fn append_message(&mut self, message: &MailboxMessage) {
        self.closing |= *message == MailboxMessage::Close;
        self.replies.message(message);
    }

    /// Appends all pending notices and outcomes, without waiting for more.
    pub(super) fn append_pending(&mut self) {
        while let Some(message) = self.mailbox.try_next() {
            self.append_message(&message);
        }
        while let Ok(outcome) = self.outcomes.try_recv() {
            self.replies.outcome(&outcome);
        }
    }

    /// Writes the replies that are ready.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        let bytes = self.replies.bytes();
        if bytes.is_empty() {
            return Ok(());
        }
        let small = bytes.len() < 1024;
        let waits = self.settings.memory.take(bytes.len());
        let patience = if waits.is_ok() || small { WRITE_TIMEOUT } else { SHORT_PATIENCE };
        let written = timeout(patience, self.stream.write_all(bytes)).await;
        written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        self.replies.written();
        if small {
            self.replies.shrink();
        }
        Ok(())
    }

    /// Writes the remaining lines and closes. A client that has only closed its sending side still gets the outcomes of
    /// its maintenance requests.
    async fn close(&mut self, reason: CloseReason) -> io::Result<()> {
        self.append_pending();
        self.flush().await?;
        if reason == CloseReason::Client {
            self.outstanding_outcomes().await?;
        }
        self.stream.shutdown().await?;
        if !matches!(reason, CloseReason::Client | CloseReason::Stopping | CloseReason::MadeWay) {
            linger(&mut self.stream).await;
        }
        Ok(())
    }

    async fn outstanding_outcomes(&mut self) -> io::Result<()> {
        let stopping = self.lifecycle.stopping().clone();
        // `close` keeps reserved places. `recv` returns `None` once all of them are used or released.
        self.outcomes.close();
        while let Some(Some(outcome)) = stopping.run_until_cancelled(self.outcomes.recv()).await {
            self.replies.outcome(&outcome);
            self.flush().await?;
        }
        Ok(())
    }
}

/// Closes the sending side, then reads and drops input for a short time. Closing with unread input would reset the
/// connection and discard what the client has not read yet.
pub(super) async fn linger(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let drain = async {
        stream.shutdown().await?;
        let mut dropped = [0; 1024];
        while stream.read(&mut dropped).await? > 0 {}
        io::Result::Ok(())
    };
    // Ignored: the connection ends in any case.
    let _ = timeout(LINGER, drain).await;
}
