//! The identity of a worker thread, for state that each worker keeps by itself.

/// A worker's index and the number of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerId {
    /// From 0.
    pub index: usize,
    /// At least 1.
    pub count: usize,
}

impl WorkerId {
    /// Makes one value for each worker.
    pub(super) fn each<T: Default>(self) -> Box<[T]> {
        std::iter::repeat_with(T::default).take(self.count.max(1)).collect()
    }

    /// Returns this worker's own value among `all`, as [`Self::each`] made them.
    pub(super) fn own<T>(self, all: &[T]) -> Option<&T> {
        all.get(self.index.checked_rem(all.len())?)
    }
}
