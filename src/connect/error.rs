//! The errors of name lookups and of connections to backends, in words for logs and callers.

use std::io;

use crate::domain::OffLimits;
use crate::http2::Http2Error;

/// The reason why a backend has no address to connect to. Its text is for logs and backend tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The name is unknown, or no name server answered.
    #[error("its name does not resolve")]
    Unknown,
    /// Too many names of the session wait for a lookup.
    #[error("too many names wait to be looked up")]
    Busy,
    /// This server has run out of file descriptors, so no name server was asked.
    #[error("this server has no room for a name lookup now")]
    NoRoom,
    /// All addresses of the backend are forbidden.
    #[error(transparent)]
    OffLimits(#[from] OffLimits),
}

/// The reason why there is no connection to a backend. Its text is for logs and backend tests.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error("no connection in time")]
    TooSlow,
    /// This server has run out of files or ports. Nothing is known of the backend.
    #[error("this server has no room for another connection now")]
    NoRoom,
    #[error("{}", refused(.0))]
    Failed(#[from] io::Error),
    #[error("its certificate {0}")]
    Certificate(String),
    #[error("no TLS connection: {0}")]
    Handshake(String),
    #[error("no HTTP/2 connection: {0}")]
    NotHttp2(#[from] Http2Error),
}

impl ConnectError {
    /// True for a TLS error, which lasts until an operator corrects the backend or the configuration.
    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Self::Certificate(_) | Self::Handshake(_))
    }

    /// Returns the type of the error (RFC 9209 §2.3).
    pub(crate) fn proxy_error(&self) -> &'static str {
        match self {
            Self::Resolve(ResolveError::Unknown) => "dns_error",
            Self::Resolve(ResolveError::OffLimits(_)) => "destination_ip_prohibited",
            Self::Resolve(ResolveError::Busy | ResolveError::NoRoom) | Self::NoRoom => "connection_limit_reached",
            Self::TooSlow => "connection_timeout",
            Self::Failed(error) => match error.kind() {
                io::ErrorKind::ConnectionRefused => "connection_refused",
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "destination_ip_unroutable",
                _ => "connection_terminated",
            },
            Self::Certificate(_) => "tls_certificate_error",
            Self::Handshake(_) => "tls_protocol_error",
            Self::NotHttp2(_) => "http_protocol_error",
        }
    }

    /// True if this server has run out of files or ports, which is no fault of the backend.
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
