//! Connections to backends: looking names up, the addresses that may be connected to, dialling, TLS.
//!
//! What it is not: HTTP, and keeping connections for the next request. What must hold: no connection goes to an address that is
//! forbidden, and the address is checked each time.

mod dial;
mod error;
mod lookup;
mod resolve;
pub(crate) mod serial;
mod tls;

pub(crate) use dial::{connect, dial, left};
pub(crate) use error::ConnectError;
pub use lookup::NameLookup;
pub use resolve::AddressResolver;
pub(crate) use resolve::{CachedResolver, DnsCache};
pub(crate) use tls::BackendStream;
pub use tls::BackendTls;
