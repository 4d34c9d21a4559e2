//! Connections to backends: name lookup, forbidden addresses, dialling and TLS.
//!
//! Not here: HTTP, or the pool of idle connections. Invariants: no connection goes to a forbidden address; the address
//! is checked before each connection.

mod dial;
mod error;
mod lookup;
mod resolve;
pub(crate) mod serial;
mod tls;

pub(crate) use dial::{connect, dial, remaining};
pub(crate) use error::ConnectError;
pub use lookup::NameLookup;
pub use resolve::AddressResolver;
pub(crate) use resolve::{CachedResolver, DnsCache};
pub use tls::BackendTls;
pub(crate) use tls::{BackendStream, OfferedProtocols, chose_http2, speaks_http2};
