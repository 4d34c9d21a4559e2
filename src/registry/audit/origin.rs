//! The origin of a call: the interface and address that it came by, and the operator who made it.

use std::net::IpAddr;

use crate::domain::OperatorName;

use super::words::words;

words! {
    /// The way that a call came.
    Interface is "The way that the call came; `server` for the server itself.", "interface" {
        /// The pipe.
        Pipe = "pipe",
        /// gRPC.
        Grpc = "grpc",
        /// REST.
        Rest = "rest",
        /// No interface: the server itself acts.
        Server = "server",
    }
}

/// The origin of a call. It stays with the call's commands until they are decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOrigin {
    /// The interface.
    pub interface: Interface,
    /// The client's address, as trusted proxies tell it; `None` if it is not known.
    pub address: Option<IpAddr>,
    /// The operator; `None` for a call of a session or of the server.
    pub operator: Option<OperatorName>,
}

impl CallOrigin {
    /// The server itself.
    pub const SERVER: Self = Self { interface: Interface::Server, address: None, operator: None };

    /// Returns the origin of a call from `address`.
    pub fn new(interface: Interface, address: Option<IpAddr>) -> Self {
        Self { interface, address: address.map(|address| address.to_canonical()), operator: None }
    }

    /// Returns the same origin for a call of an operator.
    #[must_use]
    pub fn by(self, operator: OperatorName) -> Self {
        Self { operator: Some(operator), ..self }
    }
}
