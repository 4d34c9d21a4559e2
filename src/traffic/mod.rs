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

pub use accept::takes_html;
pub use breaker::{Admission, Breaker, Flip, Outcome, Permit, Status as BreakerStatus};
pub use checks::{CheckId, Checks, Inquiry, Subject};
pub use choose::{Draw, Members, Nobody, choose};
pub use client::client_address;
pub use duty::Duty;
pub use encoding::{Coding, Recoding, drop_digests, recode, strengthen};
pub use endpoint::{Defaults, Endpoint, Policy, Settings, origin_hash};
pub use hash::member_key;
pub use headers::{
    Arrival, Hop, Upgrade, edit_request, edit_response, edit_trailers, is_chunked_alone, names_loop, wants_upgrade,
};
pub use health::{Check, Condition, Finding, Health, Turn, next_check};
pub use host::request_host;
pub use limiter::{Limiter, Verdict, stricter};
pub use logins::{asks_for_login, logs_in};
pub use pool::Pool;
pub use prefix::{Stripped, restore_prefix};
pub use reach::Reach;
pub use retry::{Budget, Failure, Upload, may_try_again};
pub use share::{Candidate, SLOW_START, Standing, Weight};
pub use stats::{Lease, Live, Numbers, Seen, Worker};
pub use table::Table;
pub use targets::RequestLine;
