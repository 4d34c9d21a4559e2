//! The signals of the process.
//!
//! `SIGTERM`, `SIGINT` and `SIGQUIT` stop it in good order; `SIGHUP` reloads the configuration; `SIGUSR1` and `SIGUSR2`
//! are logged and do nothing. The standard library ignores `SIGPIPE`.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the process handles. None of them kills it while this exists.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Starts listening for signals; `SIGHUP` comes apart from the others.
    pub(super) fn listen() -> anyhow::Result<(Self, Signal)> {
        let on = |kind| signal(kind).context("cannot listen for signals");
        let hangups = on(SignalKind::hangup())?;
        let signals = Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            quit: on(SignalKind::quit())?,
            user1: on(SignalKind::user_defined1())?,
            user2: on(SignalKind::user_defined2())?,
        };
        Ok((signals, hangups))
    }

    /// Waits for a signal that stops the server; logs the others.
    pub(super) async fn stop(&mut self) -> &'static str {
        loop {
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.quit.recv() => return "SIGQUIT",
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
            };
            tracing::info!(signal = ignored, "a signal came that does nothing; SIGHUP reloads the configuration");
        }
    }
}
