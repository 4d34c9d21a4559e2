//! The limits of the pipe.

use std::net::SocketAddr;
use std::time::Duration;

use crate::connection_limits::PortConnections;
use crate::memory_budget::MemoryBudget;

/// The limits of the pipe.
#[derive(Clone, Debug)]
pub struct PipeSettings {
    /// The maximum length of a command line in bytes, without its line end.
    pub max_line: usize,
    /// The maximum length of a reply line in bytes, with its line end. Deployed clients read no more.
    pub max_reply: usize,
    /// The time within which a line must be complete; the connection is closed otherwise.
    pub line_timeout: Duration,
    /// The time after which a connection without a session and without a line is closed.
    pub idle_timeout: Duration,
    /// The permits for connections. A client without a permit is refused, and its connection is closed.
    pub connections: PortConnections,
    /// The address of gRPC and REST, for the refusal of clients that use them on this port.
    pub api: Option<SocketAddr>,
    /// The memory budget for lines and replies.
    pub memory: MemoryBudget,
}
