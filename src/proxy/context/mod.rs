//! What the requests of one worker share, and what one request holds until it ends.

pub(crate) mod breaker_guard;
pub(crate) mod stats;
