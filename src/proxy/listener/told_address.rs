//! Fetches the PROXY header from the socket of a peer that must send one, and nothing behind it.
//!
//! The sweep of the worker limits the time. Invariants: what follows the header stays in the socket, whatever it is; the
//! memory is bounded by the longest header.

use std::io;
use std::net::IpAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::proxy::client::proxy_header::{HEADER_BYTES_MAX, ProxyHeader, ProxyHeaderError};

/// The reason why the address of a client is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToldAddressError {
    /// The header cannot be used.
    #[error(transparent)]
    Header(#[from] ProxyHeaderError),
    /// The connection ended or broke.
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// Reads the header. Returns the address of the client; `None` if it is that of the socket.
///
/// # Errors
/// [`ToldAddressError`] if the connection has no header that can be used.
pub(crate) async fn read(socket: &mut TcpStream) -> Result<Option<IpAddr>, ToldAddressError> {
    let (mut header, mut taken) = ([0; HEADER_BYTES_MAX], 0);
    loop {
        // No header that is unfinished fills the array.
        let seen = taken + socket.peek(header.get_mut(taken..).unwrap_or_default()).await?;
        let (end, told) = match ProxyHeader::read(header.get(..seen).unwrap_or_default())? {
            ProxyHeader::Unfinished if seen == taken => return Err(ProxyHeaderError::Missing.into()),
            ProxyHeader::Unfinished => (seen, None),
            ProxyHeader::Whole { length, client } => (length, Some(client)),
        };
        socket.read_exact(header.get_mut(taken..end).unwrap_or_default()).await?;
        taken = end;
        if let Some(client) = told {
            return Ok(client);
        }
    }
}
