//! New connections to backends.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::resolve::{Resolver, Unresolved};
use crate::domain::{BackendUrl, SessionKey};
use crate::{clock, files};

/// Why there is no connection. For the log, and for whoever tests a backend.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    #[error("no connection in time")]
    TooSlow,
    /// Nothing was tried: it says nothing of the backend.
    #[error("this server has no room for another connection now")]
    NoRoom,
    #[error("{}", refused(.0))]
    Failed(#[from] io::Error),
    #[error("its certificate {0}")]
    Certificate(String),
    #[error("no TLS connection: {0}")]
    Handshake(String),
}

impl Unreachable {
    /// True if somebody has to do something about it: waiting, or another try, will not help.
    pub(super) fn is_of_tls(&self) -> bool {
        matches!(self, Self::Certificate(_) | Self::Handshake(_))
    }

    /// Returns true when this server has run out of files or ports, which is no fault of the backend.
    pub(super) fn is_own(&self) -> bool {
        matches!(self, Self::NoRoom | Self::Unresolved(Unresolved::NoRoom))
    }
}

fn refused(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "the host cannot be reached",
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => "the connection was reset",
        _ => "the connection failed",
    }
}

/// Connects to a backend: resolves its name and tries every address in turn, all before `end`.
pub(super) async fn dial(
    resolver: &Resolver,
    asker: SessionKey,
    backend: &BackendUrl,
    end: Instant,
) -> Result<TcpStream, Unreachable> {
    let addresses =
        timeout(left(end), resolver.addresses(asker, backend)).await.map_err(|_| Unreachable::TooSlow)??;
    connect(&addresses, backend.port(), end).await
}

/// Connects to the first of `addresses` that can be connected to before `end`.
pub(super) async fn connect(addresses: &[IpAddr], port: u16, end: Instant) -> Result<TcpStream, Unreachable> {
    let mut failure = Unreachable::TooSlow;
    for (tried, address) in addresses.iter().enumerate() {
        // An address that swallows packets must leave time for the next.
        let share = left(end) / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(socket)) => {
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Ok(Err(error)) if files::ran_out(&error) => return Err(Unreachable::NoRoom),
            Ok(Err(error)) => failure = error.into(),
            Err(_) => {}
        }
    }
    Err(failure)
}

/// The time until then.
pub(super) fn left(end: Instant) -> Duration {
    end.saturating_duration_since(clock::instant())
}
