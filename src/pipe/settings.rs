//! The bounds of the pipe.

use std::net::SocketAddr;
use std::time::Duration;

use crate::connection_limits::{ConnectionLimits, PortConnections};
use crate::memory_budget::MemoryBudget;

/// The bounds of the pipe.
#[derive(Clone, Debug)]
pub struct PipeSettings {
    /// The most bytes of a command line, its end not counted.
    pub max_line: usize,
    /// The most bytes of a reply line, its end included: deployed clients read no more.
    pub max_reply: usize,
    /// The same, of a reply whose payload is compressed.
    pub max_compressed: usize,
    /// A line that is begun and not finished within this time closes its connection.
    pub line_timeout: Duration,
    /// A connection without a session and without a line for this time is closed.
    pub idle_timeout: Duration,
    /// A connection that does not take its replies within this time is closed.
    pub write_timeout: Duration,
    /// The permits for connections. A client without one gets a refusal, and is closed.
    pub connections: PortConnections,
    /// The address of gRPC and REST, for clients that use them on this port.
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
