//! The only place where the time is read.

use std::sync::LazyLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::domain::Time;

static START: LazyLock<(Instant, u64)> = LazyLock::new(|| {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (Instant::now(), u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
});

/// The time of day. It runs with the monotonic clock from the start of the process, so that a corrected
/// system clock neither expires sessions nor turns time back.
pub fn now() -> Time {
    at(instant())
}

/// The time of day that [`now`] gave at an instant, without reading the clock again.
pub fn at(instant: Instant) -> Time {
    let (start, millis) = &*START;
    let elapsed = u64::try_from(instant.saturating_duration_since(*start).as_millis()).unwrap_or(u64::MAX);
    Time(millis.saturating_add(elapsed))
}

/// The same in microseconds since the Unix epoch, for what a millisecond is too coarse for.
pub fn micros_at(instant: Instant) -> u64 {
    let (start, millis) = &*START;
    let elapsed = u64::try_from(instant.saturating_duration_since(*start).as_micros()).unwrap_or(u64::MAX);
    millis.saturating_mul(1000).saturating_add(elapsed)
}

/// The monotonic clock, for what takes how long.
pub fn instant() -> Instant {
    Instant::now()
}
