//! Decisions on requests: which endpoint one goes to, with which headers, and whether it may be tried again.
//!
//! No IO, no clock, no randomness: time, chance and addresses are arguments, so every decision can be replayed.
//! What it is not: the carrying out, which is `proxy`'s. What must hold: a lookup costs no more than the depth
//! of the deepest path configured for the host, a change no more than what it changes.

mod accept;
mod breaker;
mod checks;
mod choose;
mod client;
mod duty;
mod encoding;
mod endpoint;
mod hash;
mod headers;
mod health;
mod host;
mod ledger;
mod limiter;
mod logins;
mod paths;
mod pool;
mod prefix;
mod reach;
mod retry;
mod share;
mod stats;
mod table;
mod targets;
#[cfg(test)]
mod tests;
mod turns;

pub use accept::accepts_html;
pub use breaker::{Breaker, BreakerDecision, BreakerOutcome, BreakerPermit, BreakerStatus, BreakerTransition};
pub use checks::{CheckId, CheckSchedule, CheckTarget, ProbeSpec};
pub use choose::{Members, NoEndpoint, SelectionInput, select};
pub use client::client_address;
pub use duty::AdminState;
pub use encoding::{CompressionPlan, ContentCoding, drop_digests, plan_compression, strengthen_etags};
pub use endpoint::{Endpoint, EndpointPolicy, RouteDefaults, RouteSettings, origin_hash};
pub use hash::member_key;
pub use headers::{
    Peer, RequestHop, Upgrade, edit_request, edit_response, edit_trailers, is_only_chunked, is_routing_loop,
    requested_upgrade,
};
pub use health::{CheckKind, Health, HealthState, HealthTransition, ProbeResult, jittered_interval};
pub use host::request_host;
pub use limiter::{RateDecision, RateLimiter, stricter};
pub use logins::{authenticates_connection, challenges_connection};
pub use pool::Pool;
pub use prefix::{PrefixMapping, restore_prefix};
pub use reach::ConnectBackoff;
pub use retry::{AttemptFailure, RetryBudget, UploadState, may_retry};
pub use share::{Eligibility, MemberState, SLOW_START, Weight};
pub use stats::{EndpointStats, InFlight, LiveState, RequestRecord, WorkerId};
pub use table::RoutingTable;
pub use targets::TargetEncoder;
