//! A limit for warnings that many events cause.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock;

/// Lets a warning pass once a second.
#[derive(Debug)]
pub struct OncePerSecond {
    /// The time of the last warning, in milliseconds; 0 for none.
    last_ms: AtomicU64,
}

impl Default for OncePerSecond {
    fn default() -> Self {
        Self::new()
    }
}

impl OncePerSecond {
    /// Creates a limit that lets the first warning pass.
    pub const fn new() -> Self {
        Self { last_ms: AtomicU64::new(0) }
    }

    /// Returns true if no warning has passed for a second.
    pub fn passes(&self) -> bool {
        let (now, last) = (clock::now().0, self.last_ms.load(Ordering::Relaxed));
        now.saturating_sub(last) >= 1000
            && self.last_ms.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_warning_passes_in_a_second() {
        let limit = OncePerSecond::new();
        assert!(limit.passes() && !limit.passes());
        limit.last_ms.fetch_sub(1000, Ordering::Relaxed);
        assert!(limit.passes());
    }
}
