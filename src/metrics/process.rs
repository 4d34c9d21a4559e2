//! The numbers of the process that the system keeps.
//!
//! Invariant: a number that the system does not tell is left out, not 0.

use std::fs;

use rustix::process::{Resource, getrlimit};

use crate::clock;
use crate::domain::Time;

/// The numbers of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[expect(missing_docs, reason = "each is what its name says")]
pub struct ProcessSample {
    pub cpu_seconds: f64,
    pub started: Time,
    pub resident_bytes: Option<u64>,
    pub virtual_bytes: Option<u64>,
    pub threads: Option<u64>,
    pub open_fds: Option<u64>,
    pub max_fds: Option<u64>,
}

impl ProcessSample {
    /// Asks the system.
    pub fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let fds = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        Self {
            cpu_seconds: clock::cpu_time().as_secs_f64(),
            started: clock::started(),
            resident_bytes: kibibytes(&status, "VmRSS:"),
            virtual_bytes: kibibytes(&status, "VmSize:"),
            threads: number(&status, "Threads:"),
            // The folder itself is open while it is read.
            open_fds: fds.map(|count| u64::try_from(count).unwrap_or(u64::MAX).saturating_sub(1)),
            max_fds: getrlimit(Resource::Nofile).current,
        }
    }
}

fn kibibytes(status: &str, key: &str) -> Option<u64> {
    number(status, key)?.checked_mul(1024)
}

/// Returns the number behind a key of `/proc/self/status`.
fn number(status: &str, key: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_the_numbers_of_this_process() {
        let sample = ProcessSample::read();
        assert!(sample.cpu_seconds > 0.0 && sample.started > Time(1_700_000_000_000), "{sample:?}");
        let counted = [sample.resident_bytes, sample.virtual_bytes, sample.threads, sample.open_fds, sample.max_fds];
        assert!(counted.iter().all(|number| number.is_some_and(|number| number > 0)), "{sample:?}");
    }

    #[test]
    fn a_number_that_is_not_told_is_left_out() {
        assert_eq!(kibibytes("VmRSS:\t  12 kB\nThreads: 3\n", "VmRSS:"), Some(12 * 1024));
        for status in ["", "VmRSS:", "VmRSS: x kB", "VmRSS: 18446744073709551615 kB"] {
            assert_eq!(kibibytes(status, "VmRSS:"), None, "{status}");
        }
    }
}
