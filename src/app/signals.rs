//! The signals of the process.
//!
//! `SIGTERM`, `SIGINT` and `SIGQUIT` stop it in good order; `SIGHUP` reloads the configuration and opens the access log again, `SIGUSR1`
//! only the latter; `SIGUSR2` is logged and does nothing. The standard library ignores `SIGPIPE`. `SIGXFSZ` does nothing either, so that a file
//! that has reached the size limit of the process (`ulimit -f`) fails its writes as a full disk does.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the process handles. None of them kills it while this exists.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user2: Signal,
    // Never read: the write that caused it has its error.
    _file_size: Signal,
}

/// The signals that change what the running server reads and writes.
pub(super) struct FileSignals {
    pub(super) hangup: Signal,
    pub(super) user1: Signal,
}

impl Signals {
    /// Starts listening for signals.
    pub(super) fn listen() -> anyhow::Result<(Self, FileSignals)> {
        let on = |kind| signal(kind).context("cannot listen for signals");
        let of_files = FileSignals { hangup: on(SignalKind::hangup())?, user1: on(SignalKind::user_defined1())? };
        let signals = Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            quit: on(SignalKind::quit())?,
            user2: on(SignalKind::user_defined2())?,
            _file_size: on(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?,
        };
        Ok((signals, of_files))
    }

    /// Waits for a signal that stops the server; logs the others.
    pub(super) async fn stop(&mut self) -> &'static str {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.quit.recv() => return "SIGQUIT",
                _ = self.user2.recv() => {}
            }
            tracing::info!(
                "SIGUSR2 does nothing; SIGHUP reloads the configuration, SIGUSR1 opens the access log again"
            );
        }
    }
}
