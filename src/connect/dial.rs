//! New connections to backends.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::ConnectError;
use super::resolve::CachedResolver;
use crate::domain::{BackendUrl, SessionKey};
use crate::{clock, sockets};

/// Connects to a backend before `end`: resolves its name and tries each address in turn.
pub(crate) async fn dial(
    resolver: &CachedResolver,
    session: SessionKey,
    backend: &BackendUrl,
    end: Instant,
) -> Result<TcpStream, ConnectError> {
    let addresses =
        timeout(remaining(end), resolver.addresses(session, backend)).await.map_err(|_| ConnectError::TooSlow)??;
    connect(&addresses, backend.port(), end).await
}

/// Connects to the first of `addresses` that accepts a connection before `end`.
pub(crate) async fn connect(addresses: &[IpAddr], port: u16, end: Instant) -> Result<TcpStream, ConnectError> {
    let mut failure = ConnectError::TooSlow;
    for (tried, address) in addresses.iter().enumerate() {
        // An address that drops packets must leave time for the next one.
        let share = remaining(end) / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(SocketAddr::new(*address, port))).await {
            Ok(Ok(socket)) => {
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Ok(Err(error)) if sockets::is_out_of_resources(&error) => return Err(ConnectError::NoRoom),
            Ok(Err(error)) => failure = error.into(),
            Err(_) => {}
        }
    }
    Err(failure)
}

/// Returns the time until `end`; zero if `end` has passed.
pub(crate) fn remaining(end: Instant) -> Duration {
    end.saturating_duration_since(clock::instant())
}
