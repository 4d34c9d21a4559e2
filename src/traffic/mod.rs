//! Decisions on requests: which endpoint one goes to, with which headers, and whether it may be tried again.
//!
//! No IO, no clock, no randomness: time, chance and addresses are arguments, so every decision can be replayed.
//! What it is not: the carrying out, which is `proxy`'s. What must hold: a lookup costs no more than the depth
//! of the deepest path configured for the host, a change no more than what it changes.

mod balance;
mod encoding;
mod endpoint;
mod headers;
mod host;
mod paths;
mod pool;
mod retry;
mod stats;
mod table;
#[cfg(test)]
mod tests;

pub use balance::{Draw, pick};
pub use encoding::{Coding, Recoding, drop_digests, recode};
pub use endpoint::{Defaults, Endpoint, Settings};
pub use headers::{
    Arrival, Hop, Upgrade, client_address, edit_request, edit_response, is_chunked_alone, names_loop, wants_upgrade,
};
pub use host::request_host;
pub use pool::Pool;
pub use retry::{Budget, Failure, Upload, may_try_again};
pub use stats::{Lease, Live, Numbers, Seen, Worker};
pub use table::Table;
