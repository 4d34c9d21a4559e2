//! Decisions on requests: which endpoint gets a request, with which headers, and whether a failed request is tried again.
//!
//! No IO, no clock, no randomness: time, random bits and addresses are arguments, so each decision can be replayed.
//! It sends nothing; `proxy` carries the decisions out. Invariants: a lookup costs at most one step for each segment of the
//! deepest path that the host has, and a change costs only what it changes.
//!
//! [`RoutingTable`] finds the [`Pool`] of a request; the pool selects an [`Endpoint`] among its members; limits and breakers
//! allow or refuse the request; `rewriting` turns the client's head into the backend's, and the backend's into the client's.
//! `health` schedules the health checks.

mod balancing;
mod breaker;
mod endpoint;
mod grpc;
mod hash;
mod health;
mod limits;
mod retry;
mod rewriting;
mod routing;
mod worker;

pub use balancing::{Members, NoEndpoint, Pool, SelectionInput, member_key, select};
pub use breaker::{BreakerDecision, BreakerOutcome, BreakerPermit, BreakerStatus, BreakerTransition, EndpointBreaker};
pub use endpoint::{
    AdminState, AskedRoute, ConnectBackoff, Eligibility, Endpoint, EndpointPolicy, EndpointStats, FailureWarnings,
    InFlight, LastFailure, LiveState, MemberState, MethodLabel, ReasonCounts, RequestDurations, RequestRecord,
    RequestTotals, RouteDefaults, RouteOwner, RouteSettings, StatusCounts, StatusLabel, Weight, origin_hash,
};
pub use grpc::{
    GRPC_STATUS, GRPC_UNKNOWN, grpc_status, grpc_timeout, has_grpc_type, http_status_of_call, is_grpc_call,
};
pub use health::{
    CheckId, CheckKind, CheckSchedule, CheckTarget, EndpointHealth, HealthState, HealthTransition, ProbeResult,
    ProbeSpec, SLOW_START, jittered_interval,
};
pub use limits::{RateDecision, RateLimiter, stricter};
pub use retry::{AttemptFailure, RetryBudget, UploadState, may_retry};
pub use rewriting::{
    AddedFields, CompressionPlan, ContentCoding, HopCount, Peer, PrefixMapping, RequestHop, RequestId, TRACEPARENT,
    TRACESTATE, TargetEncoder, TraceParent, Upgrade, X_REQUEST_ID, accepts_html, authenticates_connection,
    challenges_connection, client_address, drop_digests, edit_request, edit_response, edit_trailers, forwarded_host,
    is_only_chunked, is_routing_loop, is_secure, percent_encoded, plan_compression, requested_upgrade, restore_prefix,
    strengthen_etags, trace_parent, trace_state,
};
pub use routing::{RoutingTable, request_host};
pub use worker::WorkerId;

#[cfg(test)]
mod tests;
