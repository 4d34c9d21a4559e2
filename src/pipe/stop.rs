//! The end of a connection when the server stops.
//!
//! A client takes the next line for the answer to its command, whatever the line says. Invariants: a line that was
//! read, or is in the socket, is executed and answered before `SHUTDOWN`; no client can take `SHUTDOWN` for the answer
//! to a line that is not executed.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::connection::{CloseReason, Connection};
use super::line::{InputLine, LineBuffer};

/// The silence after which a client counts as waiting for no answer and sending no further line.
const QUIET: Duration = Duration::from_millis(200);
/// The maximum time that a client may continue to send.
const BUSY_MAX: Duration = Duration::from_secs(3);
/// The maximum time for a line to arrive that the client sent before it could know of the stop.
const CROSSING_MAX: Duration = Duration::from_secs(1);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Executes and answers what the client still sends until it is quiet, then announces the stop. A client that does
    /// not become quiet gets no announcement, because it would take `SHUTDOWN` for an answer.
    pub(super) async fn wind_down(&mut self, lines: &mut LineBuffer) -> io::Result<CloseReason> {
        let mut too_late = pin!(sleep(BUSY_MAX));
        while !self.closing {
            let read = tokio::select! {
                biased;
                () = &mut too_late => return Ok(CloseReason::Busy),
                read = self.stream.read_buf(lines.room()) => read?,
                () = sleep(QUIET) => {
                    if lines.is_unfinished() {
                        continue;
                    }
                    break;
                }
            };
            if read == 0 {
                return Ok(CloseReason::Client);
            }
            lines.appended();
            if let Some(end) = self.execute_read_lines(lines).await? {
                return Ok(end);
            }
            self.append_pending();
            self.flush().await?;
        }
        if self.closing {
            return Ok(self.close_reason());
        }
        self.append_pending();
        if self.holds_session() {
            self.replies.shutdown();
            self.flush().await?;
            self.stream.shutdown().await?;
            // Ignored: a client that has read `SHUTDOWN` sends no further line.
            let _ = timeout(CROSSING_MAX, self.crossing(lines)).await;
        }
        Ok(CloseReason::Stopping)
    }

    /// Executes the first line that arrives after `SHUTDOWN` was sent. Its client may not have read `SHUTDOWN` yet, and
    /// would take it for the answer. Later lines are not executed; their answer is the end of the connection.
    async fn crossing(&mut self, lines: &mut LineBuffer) -> io::Result<()> {
        while self.stream.read_buf(lines.room()).await? > 0 {
            lines.appended();
            let is_command = |line: &InputLine<'_>| !matches!(line, InputLine::Whole(b"" | b"ACK"));
            let first = lines.complete().find(is_command);
            let found = first.is_some();
            self.execute_batch(first).await?;
            self.replies.written();
            if found {
                break;
            }
            lines.release();
        }
        Ok(())
    }
}
