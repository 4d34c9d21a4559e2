//! The signals of the process.
//!
//! `SIGTERM`, `SIGINT` and `SIGQUIT` stop it in good order; `SIGHUP`, `SIGUSR1` and `SIGUSR2` are logged and do
//! nothing. The standard library ignores `SIGPIPE`.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the process handles. None of them kills it while this exists.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Starts listening for signals.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            quit: on(SignalKind::quit())?,
            hangup: on(SignalKind::hangup())?,
            user1: on(SignalKind::user_defined1())?,
            user2: on(SignalKind::user_defined2())?,
        })
    }

    /// Waits for a signal that stops the server; logs the others.
    pub(super) async fn stop(&mut self) -> &'static str {
        loop {
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.quit.recv() => return "SIGQUIT",
                _ = self.hangup.recv() => "SIGHUP",
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
            };
            tracing::info!(signal = ignored, "a signal came that does nothing; the configuration is read at the start");
        }
    }
}
