//! Durations that are counted in buckets with fixed upper bounds, for histograms.
//!
//! It reads no clock and allocates nothing to count. Invariants: counts are exact; a duration that equals a bound is in the bucket of
//! that bound.

use std::time::Duration;

/// The counts of durations, and their sum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DurationBuckets<const N: usize> {
    /// The upper bounds in nanoseconds, ascending.
    bounds: &'static [u64; N],
    counts: [u64; N],
    /// The number of durations above all bounds.
    longer: u64,
    nanos: u64,
}

/// The counts as a histogram shows them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BucketSample {
    /// The sum of all durations in seconds.
    pub seconds: f64,
    /// The upper bound of each bucket in seconds, the last one infinite, with the number of durations in this bucket alone.
    pub buckets: Vec<(f64, u64)>,
}

impl<const N: usize> DurationBuckets<N> {
    /// Creates empty buckets with these upper bounds in nanoseconds.
    pub const fn new(bounds: &'static [u64; N]) -> Self {
        Self { bounds, counts: [0; N], longer: 0, nanos: 0 }
    }

    /// Counts a duration.
    pub fn record(&mut self, duration: Duration) {
        let nanos = nanos(duration);
        self.nanos = self.nanos.saturating_add(nanos);
        let at = self.bounds.partition_point(|bound| *bound < nanos);
        *self.counts.get_mut(at).unwrap_or(&mut self.longer) += 1;
    }

    /// Adds the counts of buckets with the same bounds.
    pub fn add(&mut self, other: &Self) {
        self.nanos = self.nanos.saturating_add(other.nanos);
        self.longer += other.longer;
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
    }

    /// Returns the number of durations.
    pub fn len(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.longer
    }

    /// Returns true if nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the sum of all durations.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.nanos)
    }

    /// Returns the counts as a histogram shows them.
    pub fn sample(&self) -> BucketSample {
        let bounded = self.bounds.iter().map(|bound| Duration::from_nanos(*bound).as_secs_f64()).zip(self.counts);
        let buckets = bounded.chain([(f64::INFINITY, self.longer)]).collect();
        BucketSample { seconds: self.sum().as_secs_f64(), buckets }
    }
}

/// Returns a duration in nanoseconds; the longest ones are cut.
fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    static BOUNDS: [u64; 2] = [5_000_000, 1_000_000_000];

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_it_does_not_exceed() {
        let mut buckets = DurationBuckets::new(&BOUNDS);
        for nanos in [0, 4_999_999, 5_000_000, 5_000_001, 1_000_000_000, 1_000_000_001] {
            buckets.record(Duration::from_nanos(nanos));
        }
        let sample = buckets.sample();
        assert_eq!(sample.buckets, [(0.005, 3), (1.0, 2), (f64::INFINITY, 1)]);
        assert!((sample.seconds - 2.015).abs() < 1e-6);
    }

    #[test]
    fn the_counts_of_workers_are_added_up_and_an_endless_duration_stays_one() {
        let (mut one, mut other) = (DurationBuckets::new(&BOUNDS), DurationBuckets::new(&BOUNDS));
        assert!(one.is_empty());
        one.record(Duration::MAX);
        other.record(Duration::MAX);
        other.record(Duration::from_millis(1));
        one.add(&other);
        assert_eq!(one.sample().buckets, [(0.005, 1), (1.0, 0), (f64::INFINITY, 2)]);
        assert_eq!((one.len(), one.sum()), (3, Duration::from_nanos(u64::MAX)));
    }
}
