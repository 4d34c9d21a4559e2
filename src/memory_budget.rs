//! The memory that peers can fill: one budget for all connections of the process.
//!
//! It counts and refuses; the user of the memory decides on the consequence. Invariants: drawn bytes return
//! with the end of their [`MemoryShare`]; the minimum of a connection is always granted, so that a peer that needs
//! little is served while others fill the rest.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The budget. Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryBudget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes_max: AtomicUsize,
    bytes: AtomicUsize,
}

/// The error of a draw that exceeds the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the memory for what peers send and leave unread is used up (limits.memory); try again later")]
pub struct MemoryFull;

/// Drawn memory. Dropping it returns the memory.
#[derive(Debug)]
pub struct MemoryShare {
    memory: MemoryBudget,
    bytes: usize,
    /// The bytes that are always granted.
    floor: usize,
}

/// The minimum of a connection: its task and small buffers. Always granted.
pub const CONNECTION_BYTES: usize = 8 * 1024;
/// The step by which shares grow, so that not every byte changes the count.
const STEP_BYTES: usize = 4 * 1024;
/// The upper bound of the default budget.
const DEFAULT_BYTES_MAX: usize = 2 * 1024 * 1024 * 1024;

impl Default for MemoryBudget {
    fn default() -> Self {
        Self::new(DEFAULT_BYTES_MAX)
    }
}

impl MemoryBudget {
    /// Creates a budget of `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self(Arc::new(Inner { bytes_max: AtomicUsize::new(bytes_max), bytes: AtomicUsize::new(0) }))
    }

    /// Changes the size of the budget. Bytes that are drawn already stay drawn.
    pub fn resize(&self, bytes_max: usize) {
        self.0.bytes_max.store(bytes_max, Ordering::Relaxed);
    }

    /// Returns the size of the budget.
    pub fn bytes_max(&self) -> usize {
        self.0.bytes_max.load(Ordering::Relaxed)
    }

    /// Returns the number of bytes in use.
    pub fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Draws `bytes`.
    ///
    /// # Errors
    /// If there is no room.
    pub fn take(&self, bytes: usize) -> Result<MemoryShare, MemoryFull> {
        self.draw(bytes, self.bytes_max())?;
        Ok(MemoryShare { memory: self.clone(), bytes, floor: 0 })
    }

    /// Draws `bytes` for an optional use. Such uses get half of the budget at most.
    ///
    /// # Errors
    /// If there is no room.
    pub fn take_optional(&self, bytes: usize) -> Result<MemoryShare, MemoryFull> {
        self.draw(bytes, self.bytes_max() / 2)?;
        Ok(MemoryShare { memory: self.clone(), bytes, floor: 0 })
    }

    /// Draws `bytes` even if the budget is exceeded. For small uses that are bounded elsewhere.
    pub fn take_always(&self, bytes: usize) -> MemoryShare {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        MemoryShare { memory: self.clone(), bytes, floor: 0 }
    }

    /// Returns the share of a new connection: [`CONNECTION_BYTES`] always, and more while there is room.
    pub fn connection(&self) -> MemoryShare {
        let mut share = self.take_always(CONNECTION_BYTES);
        share.floor = CONNECTION_BYTES;
        share
    }

    fn draw(&self, bytes: usize, bytes_max: usize) -> Result<(), MemoryFull> {
        let before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) <= bytes_max {
            return Ok(());
        }
        self.give_back(bytes);
        Err(MemoryFull)
    }

    fn give_back(&self, bytes: usize) {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl MemoryShare {
    /// Sets the number of bytes held, rounded up.
    ///
    /// # Errors
    /// If it grows and there is no room. Then the share is unchanged.
    pub fn set(&mut self, bytes: usize) -> Result<(), MemoryFull> {
        let wanted = if bytes <= self.floor { self.floor } else { bytes.next_multiple_of(STEP_BYTES) };
        if wanted > self.bytes {
            self.memory.draw(wanted - self.bytes, self.memory.bytes_max())?;
        } else if wanted < self.bytes {
            self.memory.give_back(self.bytes - wanted);
        }
        self.bytes = wanted;
        Ok(())
    }

    /// Returns everything above the minimum.
    pub fn shrink(&mut self) {
        // Cannot fail: it does not grow.
        let _ = self.set(0);
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.memory.give_back(self.bytes);
    }
}

/// Returns the default budget: a quarter of the memory of the control group or the machine, at most 2 GiB.
pub fn default_bytes() -> usize {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
    let group =
        fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| group_bytes(&text, Path::new("/sys/fs/cgroup")));
    let whole = machine.into_iter().chain(group).min().unwrap_or(u64::MAX);
    usize::try_from(whole / 4).unwrap_or(usize::MAX).min(DEFAULT_BYTES_MAX)
}

/// Reads `MemTotal`, which is in KiB.
fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Returns the smallest limit of the process's control group and its ancestors, for versions 1 and 2.
fn group_bytes(groups: &str, root: &Path) -> Option<u64> {
    let limits = groups.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => (root.join("memory"), "memory.limit_in_bytes"),
            _ => return None,
        };
        let below = Path::new(path.trim_start_matches('/'));
        let limit = |folder: &Path| fs::read_to_string(root.join(folder).join(file)).ok()?.trim().parse::<u64>().ok();
        below.ancestors().filter_map(limit).min()
    });
    limits.min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_bytes_are_returned_and_more_than_the_budget_are_refused() {
        let memory = MemoryBudget::new(100_000);
        let share = memory.take(60_000).unwrap();
        assert_eq!((memory.take(60_000).unwrap_err(), memory.bytes()), (MemoryFull, 60_000));
        assert!(memory.take_optional(1).is_err(), "what can be done without gets half at most");
        drop(share);
        assert_eq!(memory.bytes(), 0);
        assert!(memory.take_optional(50_000).is_ok());
    }

    #[test]
    fn a_connection_has_what_it_needs_in_any_case() {
        let memory = MemoryBudget::new(20_000);
        let _all = memory.take(20_000).unwrap();
        let mut share = memory.connection();
        assert!(share.set(CONNECTION_BYTES).is_ok());
        assert_eq!(share.set(CONNECTION_BYTES + 1), Err(MemoryFull));
        drop(share);
        assert_eq!(memory.bytes(), 20_000);
    }

    #[test]
    fn a_share_grows_and_shrinks() {
        let memory = MemoryBudget::new(1 << 20);
        let mut share = memory.connection();
        share.set(100_000).unwrap();
        assert!((100_000..110_000).contains(&memory.bytes()));
        share.shrink();
        assert_eq!(memory.bytes(), CONNECTION_BYTES);
    }

    #[test]
    fn the_smallest_limit_of_the_groups_above_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a/memory.max", "1000\n");
        write("a/b/memory.max", "max\n");
        assert_eq!(group_bytes("0::/a/b\n", folder.path()), Some(1000));
        write("memory/x/memory.limit_in_bytes", "77\n");
        assert_eq!(group_bytes("3:cpu:/y\n4:memory:/x\n", folder.path()), Some(77));
        assert_eq!(group_bytes("nonsense", folder.path()), None);
        assert_eq!(machine_bytes("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16 * 1024));
        assert!(default_bytes() > 0);
    }
}
