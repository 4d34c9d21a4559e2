//! Rate limits: how many requests each client may send in a window of time.

mod rate_limiter;
mod rate_table;

pub use rate_limiter::{RateDecision, RateLimiter, stricter};
