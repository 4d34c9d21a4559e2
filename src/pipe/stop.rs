//! The end of a connection when the server stops.
//!
//! Clients read the next line as the answer of their command, whatever it says. What must hold: a line that was read, or lies in the
//! socket, is executed and answered before `SHUTDOWN`; nobody can take `SHUTDOWN` for the answer of a line that is not executed.

use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{sleep, timeout};

use super::connection::{CloseReason, Connection};
use super::line::{InputLine, LineBuffer};

/// A client that has sent nothing for so long waits for no answer, and is not about to send the next line of several.
const QUIET: Duration = Duration::from_millis(200);
/// The time that a client may go on sending.
const BUSY_MAX: Duration = Duration::from_secs(3);
/// The time that a line may be under way that was sent before its client could know of the stop.
const CROSSING_MAX: Duration = Duration::from_secs(1);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Executes and answers what the client still sends until it is quiet, and then says that the server stops. A client that
    /// does not become quiet is not told: `SHUTDOWN` would stand where it expects an answer.
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
            // It need not come, and a client that has read of the stop sends nothing more.
            let _ = timeout(CROSSING_MAX, self.crossing(lines)).await;
        }
        Ok(CloseReason::Stopping)
    }

    /// Executes the first line that comes after `SHUTDOWN` was sent: its client may not have read that yet, and then takes it for the
    /// answer. What follows is not executed, and has the end of the connection for an answer.
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
