//! The reasons why there is no address of a backend, or no connection to it, in words for logs and callers.

use std::io;

use crate::domain::OffLimits;

/// Why there is no address to connect to. For the log, and for whoever tests a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name is unknown, or nobody could be asked.
    #[error("its name does not resolve")]
    Unknown,
    /// The session has too many names that wait to be looked up.
    #[error("too many names wait to be looked up")]
    Busy,
    /// This server has run out of files; nobody was asked.
    #[error("this server has no room for a name lookup now")]
    NoRoom,
    /// None of its addresses may be connected to.
    #[error(transparent)]
    OffLimits(#[from] OffLimits),
}

/// Why there is no connection. For the log, and for whoever tests a backend.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
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

impl ConnectError {
    /// True if somebody has to do something about it: waiting, or another try, will not help.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Certificate(_) | Self::Handshake(_))
    }

    /// Returns true when this server has run out of files or ports, which is no fault of the backend.
    pub(crate) fn lacks_resources(&self) -> bool {
        matches!(self, Self::NoRoom | Self::Resolve(ResolveError::NoRoom))
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
