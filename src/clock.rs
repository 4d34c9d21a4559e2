//! The only place where time is read.
//!
//! Time runs from the start of the process on a clock that nobody sets and that includes suspension of the machine.
//! Invariants: setting the system clock, forward or back, neither delays nor shortens anything.

use std::fs;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, SystemTimeError, UNIX_EPOCH};

use crate::domain::Time;

struct StartReading {
    instant: Instant,
    /// Time since the boot of the machine.
    booted: Duration,
    millis: u64,
}

static START: LazyLock<StartReading> = LazyLock::new(|| StartReading {
    // Read in this order, so that the time between the two never counts as suspended.
    booted: since_boot(),
    instant: Instant::now(),
    millis: wall_millis().unwrap_or_default(),
});

/// The time for which the machine has been suspended since the start, in microseconds. `Instant` does not include it.
static SUSPENDED_MICROS: AtomicU64 = AtomicU64::new(0);
/// The offset by which the system clock was set since the start, in milliseconds.
static SET_MILLIS: AtomicI64 = AtomicI64::new(0);

/// The offset above which the system clock counts as set, not as drifting.
const DRIFT_MILLIS_MAX: u64 = 500;
/// The interval at which waits read the clock, because timers stand still during suspension.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Reads the system clock once; time runs on from there.
///
/// # Errors
/// If the system clock is before 1970.
pub fn start() -> Result<(), SystemTimeError> {
    wall_millis()?;
    LazyLock::force(&START);
    Ok(())
}

/// Returns the time: the system clock at the start of the process plus the time since then.
pub fn now() -> Time {
    at(instant())
}

/// Returns the time at an instant without reading the clock again.
pub fn at(instant: Instant) -> Time {
    let elapsed = elapsed(instant);
    // 128 bits, as `as_millis` has them, take several calls.
    let millis = elapsed.as_secs().saturating_mul(1000).saturating_add(elapsed.subsec_millis().into());
    Time(START.millis.saturating_add(millis))
}

/// Returns the same in microseconds since the Unix epoch.
pub fn micros_at(instant: Instant) -> u64 {
    let elapsed = u64::try_from(elapsed(instant).as_micros()).unwrap_or(u64::MAX);
    START.millis.saturating_mul(1000).saturating_add(elapsed)
}

/// Returns the time at which the process read its clocks first.
pub fn started() -> Time {
    Time(START.millis)
}

/// Returns the CPU time that the process has used.
pub fn cpu_time() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// Returns the monotonic clock, for measuring durations.
pub fn instant() -> Instant {
    Instant::now()
}

/// Returns the time as the present system clock would have it, for comparison with other clocks.
pub fn wall_time(time: Time) -> Time {
    Time(time.0.saturating_add_signed(SET_MILLIS.load(Ordering::Relaxed)))
}

/// Records suspension and a set system clock. Must be called once a second.
pub fn catch_up() {
    let booted = since_boot().saturating_sub(START.booted);
    // Read after the other clock, so that rather too little suspension is found.
    let running = instant().saturating_duration_since(START.instant);
    SUSPENDED_MICROS.fetch_max(suspended_micros(booted, running), Ordering::Relaxed);
    let Ok(wall) = wall_millis() else { return };
    if let Some(set) = newly_set(wall, now().0, SET_MILLIS.load(Ordering::Relaxed)) {
        SET_MILLIS.store(set, Ordering::Relaxed);
        tracing::info!(set_by_ms = set, "the system clock was set; nothing is delayed or shortened by that");
    }
}

/// Returns the suspended time from two clocks, one of which stands still during suspension.
fn suspended_micros(booted: Duration, running: Duration) -> u64 {
    u64::try_from(booted.saturating_sub(running).as_micros()).unwrap_or(u64::MAX)
}

/// Returns the offset of the system clock if it differs from the `known` one by more than the drift.
fn newly_set(wall: u64, now: u64, known: i64) -> Option<i64> {
    let set = difference(wall, now);
    (set.abs_diff(known) > DRIFT_MILLIS_MAX).then_some(set)
}

/// Waits until `due`, or forever without one. Suspension counts.
pub async fn until(due: Option<Time>) {
    let Some(due) = due else { return std::future::pending().await };
    loop {
        let left = due.since(now()).std();
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(LOOK_EVERY)).await;
    }
}

/// A reading of all clocks, for comparison at a later start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The id of the machine's boot; empty if unknown.
    pub boot: String,
    /// The time since that boot, suspension included.
    pub boot_ms: u64,
    /// The time of the reading.
    pub now: Time,
}

/// Reads all clocks.
pub fn reading() -> Reading {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let boot_ms = u64::try_from(since_boot().as_millis()).unwrap_or(u64::MAX);
    Reading { boot: boot.trim().to_owned(), boot_ms, now: now() }
}

/// A lower bound for a correct clock: 1 January 2024.
const PLAUSIBLE: Time = Time(1_704_067_200_000);

impl Reading {
    /// Returns the milliseconds to add to stored times so that the time since the reading `before` is right. `latest`
    /// is the latest stored time that was in the past then.
    pub fn skew_since(&self, before: &Reading, latest: Time) -> i64 {
        if !self.boot.is_empty() && self.boot == before.boot && self.boot_ms >= before.boot_ms {
            let expected = before.now.0.saturating_add(self.boot_ms - before.boot_ms);
            let skew = difference(self.now.0, expected);
            return if skew.unsigned_abs() > DRIFT_MILLIS_MAX { skew } else { 0 };
        }
        // Only the system clock knows how long the machine was off. If it cannot be right, no time has passed.
        let latest = latest.max(before.now);
        let never = Time::default();
        if latest != never && (self.now < latest || latest < PLAUSIBLE) { difference(self.now.0, latest.0) } else { 0 }
    }
}

fn difference(one: u64, other: u64) -> i64 {
    let span = i64::try_from(one.abs_diff(other)).unwrap_or(i64::MAX);
    if one >= other { span } else { -span }
}

fn elapsed(instant: Instant) -> Duration {
    let suspended = Duration::from_micros(SUSPENDED_MICROS.load(Ordering::Relaxed));
    instant.saturating_duration_since(START.instant) + suspended
}

fn wall_millis() -> Result<u64, SystemTimeError> {
    millis_since_epoch(SystemTime::now())
}

fn millis_since_epoch(wall: SystemTime) -> Result<u64, SystemTimeError> {
    let since_epoch = wall.duration_since(UNIX_EPOCH)?;
    Ok(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

/// Returns the time since boot. It includes suspension if the system has such a clock.
fn since_boot() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    #[cfg(target_os = "linux")]
    let clock = ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = ClockId::Monotonic;
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(boot: &str, boot_ms: u64, now: u64) -> Reading {
        Reading { boot: boot.to_owned(), boot_ms, now: Time(now) }
    }

    const THEN: u64 = 1_795_000_000_000;

    #[test]
    fn within_a_boot_the_system_clock_moves_nothing() {
        let before = reading("a", 1_000, THEN);
        let latest = Time(THEN + 10_000);
        assert_eq!(reading("a", 61_000, THEN + 60_000).skew_since(&before, latest), 0);
        assert_eq!(reading("a", 61_000, THEN + 60_400).skew_since(&before, latest), 0, "it drifts a little");
        for set in [-86_400_000, -3_600_000, 3_600_000, 86_400_000_i64] {
            let now = reading("a", 61_000, (THEN + 60_000).saturating_add_signed(set));
            assert_eq!(now.skew_since(&before, latest), set, "as much time has passed as before");
        }
    }

    #[test]
    fn a_time_before_1970_is_refused() {
        let wall = |seconds: u64| millis_since_epoch(UNIX_EPOCH - Duration::from_secs(seconds));
        assert_eq!(wall(0).ok(), Some(0));
        assert!(wall(1).is_err() && wall(86_400 * 365).is_err());
    }

    #[test]
    fn time_suspended_counts_and_a_clock_that_is_set_is_noticed_once() {
        let minutes = Duration::from_mins;
        assert_eq!(suspended_micros(minutes(65), minutes(5)), 3_600_000_000);
        assert_eq!(suspended_micros(minutes(5), minutes(5)), 0);
        assert_eq!(suspended_micros(minutes(4), minutes(5)), 0, "the clocks are not read at once");
        for set in [-86_400_000, -1_000, 1_000, 86_400_000] {
            let wall = THEN.saturating_add_signed(set);
            assert_eq!(newly_set(wall, THEN, 0), Some(set));
            assert_eq!(newly_set(wall, THEN, set), None, "it is known");
        }
        assert_eq!(newly_set(THEN + 400, THEN, 0), None, "it drifts");
    }

    #[test]
    fn across_boots_the_system_clock_is_believed_unless_it_cannot_be_right() {
        let before = reading("a", 1_000, THEN);
        let latest = Time(THEN + 10_000);
        assert_eq!(reading("b", 5, THEN + 60_000).skew_since(&before, latest), 0);
        assert_eq!(reading("b", 5, THEN).skew_since(&before, latest), -10_000, "it went back");
        let (wrong, now) = (reading("a", 1_000, 5_000), reading("b", 5, THEN));
        assert_eq!(now.skew_since(&wrong, Time(6_000)), i64::try_from(THEN - 6_000).unwrap(), "it was wrong before");
        assert_eq!(reading("b", 5, THEN).skew_since(&Reading::default(), Time::default()), 0, "a first start");
        assert_eq!(reading("", 5, THEN).skew_since(&reading("", 1, THEN - 9_000), latest), -10_000, "without boot ids");
    }
}
