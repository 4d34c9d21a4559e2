//! The limits of the pipe.

use std::net::SocketAddr;
use std::time::Duration;

use crate::connection_limits::{ConnectionLimits, PortConnections};
use crate::memory_budget::MemoryBudget;

/// The limits of the pipe.
#[derive(Clone, Debug)]
pub struct PipeSettings {
    /// The maximum length of a command line in bytes, without its line end.
    pub max_line: usize,
    /// The maximum length of a reply line in bytes, with its line end. Deployed clients read no more.
    pub max_reply: usize,
    /// The maximum length in bytes of a reply with a compressed payload, with its line end.
    pub max_compressed: usize,
    /// The time within which a line must be complete; the connection is closed otherwise.
    pub line_timeout: Duration,
    /// The time after which a connection without a session and without a line is closed.
    pub idle_timeout: Duration,
    /// The time within which a client must read its replies; the connection is closed otherwise.
    pub write_timeout: Duration,
    /// The permits for connections. A client without a permit is refused, and its connection is closed.
    pub connections: PortConnections,
    /// The address of gRPC and REST, for the refusal of clients that use them on this port.
    pub api: Option<SocketAddr>,
    /// The memory budget for lines and replies.
    pub memory: MemoryBudget,
}

impl Default for PipeSettings {
    fn default() -> Self {
        Self {
            max_line: 1024 * 1024,
            max_reply: 64 * 1024,
            max_compressed: 1024 * 1024,
            line_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(5),
            write_timeout: Duration::from_secs(30),
            connections: PortConnections::new(ConnectionLimits { all: 10_000, of_origin: 7_500 }, Vec::new()),
            api: None,
            memory: MemoryBudget::default(),
        }
    }
}
