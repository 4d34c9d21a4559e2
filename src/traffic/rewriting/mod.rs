//! Reading and rewriting the heads of requests and responses: header fields, request targets, content codings.
//!
//! Invariants: nothing that belongs to one connection crosses to the other (RFC 9110 §7.6), and no claim about the client
//! that comes from an untrusted peer reaches a backend.

mod accept;
mod claims;
mod client_address;
mod compression;
mod connection_auth;
mod forwarded;
mod headers;
mod hop_by_hop;
mod peer;
mod prefix;
mod request_id;
mod request_target;
mod trace_context;

pub use accept::accepts_html;
pub use client_address::client_address;
pub use compression::{CompressionPlan, ContentCoding, drop_digests, plan_compression, strengthen_etags};
pub use connection_auth::{authenticates_connection, challenges_connection};
pub use forwarded::{AddedFields, HopCount, forwarded_host, is_routing_loop, is_secure};
pub use headers::{RequestHop, Upgrade, edit_request, edit_response, edit_trailers, requested_upgrade};
pub use hop_by_hop::is_only_chunked;
pub use peer::Peer;
pub use prefix::{PrefixMapping, restore_prefix};
pub use request_id::{RequestId, X_REQUEST_ID};
pub use request_target::{TargetEncoder, percent_encoded};
pub use trace_context::{TRACEPARENT, TRACESTATE, TraceParent, trace_parent, trace_state};
