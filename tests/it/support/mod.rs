//! Helpers that many tests share: backends, sockets, certificates, and harnesses that run the proxy or the server.

pub mod acme_directory;
pub mod acme_proofs;
pub mod backend;
pub mod http2;
pub mod http2_client;
#[cfg(feature = "http3")]
pub mod http3_client;
pub mod name_server;
pub mod proxy_harness;
pub mod server_harness;
pub mod tls;
pub mod wire;

use std::time::Duration;

/// The time that a test waits for what must come, before it fails: long enough for a machine that does other work as well.
pub const PATIENCE: Duration = Duration::from_secs(30);
