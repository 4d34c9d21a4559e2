//! Accepting the connections of one port, also when the system runs out of descriptors.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

use super::once_per_second::OncePerSecond;

/// The pause before another attempt when the system has no room for a connection.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Accepts the connections of one port.
#[derive(Debug)]
pub struct PortListener {
    listener: TcpListener,
    /// The port's name in the log.
    port: &'static str,
    failures: OncePerSecond,
    refusals: Arc<RefusalLog>,
}

/// Counts the refused connections of a port.
#[derive(Debug)]
pub struct RefusalLog {
    port: &'static str,
    warnings: OncePerSecond,
    /// The number of refused connections since the last warning.
    refused: AtomicU64,
}

impl PortListener {
    /// Creates a listener that the log calls `port`.
    pub fn new(listener: TcpListener, port: &'static str) -> Self {
        Self { listener, port, failures: OncePerSecond::new(), refusals: Arc::new(RefusalLog::new(port)) }
    }

    /// Waits for a connection. If the system has no room for one, waits until it has.
    pub async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    if self.failures.passes() {
                        tracing::warn!(port = self.port, %error, "connections cannot be accepted now; they wait");
                    }
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Counts a refused connection; see [`RefusalLog::note`].
    pub fn note_refused(&self, why: &dyn Display) {
        self.refusals.note(why);
    }

    /// Returns the count of refused connections, for those that are refused later.
    pub fn refusals(&self) -> &Arc<RefusalLog> {
        &self.refusals
    }
}

impl RefusalLog {
    /// Creates a count for a port that the log calls `port`.
    pub fn new(port: &'static str) -> Self {
        Self { port, warnings: OncePerSecond::new(), refused: AtomicU64::new(0) }
    }

    /// Counts a refused connection. Logs the number and the last reason, once a second at most, because refused clients
    /// try again.
    pub fn note(&self, why: &dyn Display) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        if self.warnings.passes() {
            let (port, refused) = (self.port, self.refused.swap(0, Ordering::Relaxed));
            tracing::warn!(port, refused, "connections were refused: {why}");
        }
    }
}
