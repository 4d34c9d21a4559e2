//! The items that wait to be sent.
//!
//! Invariant: who adds items never waits for the collector: items for which there is no room are dropped and counted.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use prost::Message;
use tokio::sync::Notify;

/// The most items in one message, and the number at which the task that sends them is woken.
pub(super) const BATCH_MAX: usize = 512;
/// The size of a message, in bytes. Collectors take 4 MiB; what is left is for the resource and for one large item.
pub(super) const MESSAGE_BYTES_MAX: usize = 2 << 20;

/// Items that wait to be sent.
#[derive(Debug)]
pub(super) struct ItemQueue<T> {
    items: Mutex<VecDeque<T>>,
    items_max: usize,
    filled: Notify,
    lost: AtomicU64,
}

impl<T> ItemQueue<T> {
    /// Creates a queue for so many items.
    pub(super) fn new(items_max: usize) -> Self {
        Self { items: Mutex::default(), items_max, filled: Notify::new(), lost: AtomicU64::new(0) }
    }

    fn items(&self) -> MutexGuard<'_, VecDeque<T>> {
        // No code panics while it holds the lock.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds items that belong together: all or none of them.
    pub(super) fn push(&self, new: Vec<T>) {
        self.push_within(self.items_max, new);
    }

    /// The same for items of a kind that must leave room for others: no more than `items_max` may wait with them.
    pub(super) fn push_within(&self, items_max: usize, new: Vec<T>) {
        let mut items = self.items();
        let before = items.len();
        if before + new.len() > items_max {
            drop(items);
            self.lose(new.len());
            return;
        }
        items.extend(new);
        let wakes = before < BATCH_MAX && items.len() >= BATCH_MAX;
        drop(items);
        if wakes {
            self.filled.notify_one();
        }
    }

    /// Takes the oldest items, and returns them with the number of those that are left.
    pub(super) fn take(&self) -> (Vec<T>, usize) {
        let mut items = self.items();
        let count = items.len().min(BATCH_MAX);
        (items.drain(..count).collect(), items.len())
    }

    /// Waits until there are as many items as a message holds.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Counts items that the collector did not get.
    pub(super) fn lose(&self, items: usize) {
        self.lost.fetch_add(items as u64, Ordering::Relaxed);
    }

    /// Drops all items, and counts them.
    pub(super) fn lose_all(&self) {
        let left = std::mem::take(&mut *self.items()).len();
        self.lose(left);
    }

    /// Returns the number of items that the collector did not get.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Parts items into messages of a bounded size. An item that is larger makes a message of its own.
pub(super) fn in_messages<T: Message>(items: Vec<T>) -> Vec<Vec<T>> {
    let (mut messages, mut bytes) = (Vec::new(), usize::MAX);
    for item in items {
        let own = item.encoded_len();
        bytes = bytes.saturating_add(own);
        if bytes > MESSAGE_BYTES_MAX {
            messages.push(Vec::new());
            bytes = own;
        }
        if let Some(message) = messages.last_mut() {
            message.push(item);
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_counted_and_what_belongs_together_stays_so() {
        let waiting = ItemQueue::new(5);
        for new in [vec![1, 2, 3], vec![4, 5, 6], vec![7, 8]] {
            waiting.push(new);
        }
        assert_eq!((waiting.lost(), waiting.take()), (3, (vec![1, 2, 3, 7, 8], 0)));
        waiting.push(vec![9]);
        waiting.lose_all();
        assert_eq!((waiting.lost(), waiting.take()), (4, (vec![], 0)));
        // A kind with less room leaves the rest to the others.
        (0..5).for_each(|item| waiting.push_within(2, vec![item]));
        waiting.push(vec![5, 6, 7]);
        assert_eq!((waiting.lost(), waiting.take()), (7, (vec![0, 1, 5, 6, 7], 0)));
    }

    #[test]
    fn no_message_of_items_is_too_large_and_none_is_lost() {
        let item = |bytes: usize| "x".repeat(bytes);
        let half = MESSAGE_BYTES_MAX / 2;
        for (sizes, expected) in [
            (vec![], vec![]),
            (vec![1, 1], vec![2]),
            (vec![half, half, 1], vec![1, 2]),
            (vec![1, 3 * half, 1], vec![1, 1, 1]),
        ] {
            let messages = in_messages(sizes.iter().map(|bytes| item(*bytes)).collect());
            assert_eq!(messages.iter().map(Vec::len).collect::<Vec<_>>(), expected, "{sizes:?}");
        }
    }
}
