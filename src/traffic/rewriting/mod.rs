//! Reading and rewriting the heads of requests and responses: header fields, request targets, content codings.
//!
//! What must hold: nothing that belongs to one connection crosses to the other (RFC 9110 §7.6), and no claim about the client
//! that comes from an untrusted peer reaches a backend.

mod accept;
mod client_address;
mod compression;
mod connection_auth;
mod headers;
mod prefix;
mod request_target;

pub use accept::accepts_html;
pub use client_address::client_address;
pub use compression::{CompressionPlan, ContentCoding, drop_digests, plan_compression, strengthen_etags};
pub use connection_auth::{authenticates_connection, challenges_connection};
pub use headers::{
    Peer, RequestHop, Upgrade, edit_request, edit_response, edit_trailers, is_only_chunked, is_routing_loop,
    requested_upgrade,
};
pub use prefix::{PrefixMapping, restore_prefix};
pub use request_target::TargetEncoder;
