//! A waker for the parts of a connection's task that wake each other.
//!
//! A stream that writes a frame wakes the connection, and a frame that arrives wakes its stream. Both run in one task: it goes round again
//! at once, in place of a trip through the queue of the runtime. Invariants: no wake is lost, from whatever thread it comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// The most rounds before other tasks of the worker get their turn.
const ROUNDS_MAX: usize = 8;

/// A waker that wakes the task only while it does not run.
pub(super) struct QuietWaker {
    task: Waker,
    is_running: AtomicBool,
    is_woken: AtomicBool,
}

impl QuietWaker {
    /// Returns a waker for `task`, which must stay the same.
    pub(super) fn new(task: Waker) -> Arc<Self> {
        Arc::new(Self { task, is_running: AtomicBool::new(false), is_woken: AtomicBool::new(false) })
    }

    /// Calls `round` until it is ready or nothing has woken it meanwhile.
    pub(super) fn rounds(self: &Arc<Self>, mut round: impl FnMut(&mut Context<'_>) -> Poll<()>) -> Poll<()> {
        let waker = Waker::from(Arc::clone(self));
        let mut cx = Context::from_waker(&waker);
        self.is_running.store(true, Ordering::SeqCst);
        for _ in 0..ROUNDS_MAX {
            self.is_woken.store(false, Ordering::SeqCst);
            if round(&mut cx).is_ready() {
                return Poll::Ready(());
            }
            if !self.is_woken.load(Ordering::SeqCst) {
                break;
            }
        }
        self.is_running.store(false, Ordering::SeqCst);
        // A wake since the last look has not reached the task.
        if self.is_woken.load(Ordering::SeqCst) {
            self.task.wake_by_ref();
        }
        Poll::Pending
    }
}

impl Wake for QuietWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::SeqCst);
        if !self.is_running.load(Ordering::SeqCst) {
            self.task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct CountedWakes(AtomicUsize);

    impl Wake for CountedWakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_wake_inside_a_round_makes_another_round_and_one_outside_wakes_the_task() {
        let task = Arc::new(CountedWakes::default());
        let quiet = QuietWaker::new(Waker::from(Arc::clone(&task)));
        let (mut rounds, mut kept) = (0, None);
        let polled = quiet.rounds(|cx| {
            rounds += 1;
            if rounds < 3 {
                cx.waker().wake_by_ref();
            }
            kept = Some(cx.waker().clone());
            Poll::Pending
        });
        assert_eq!((polled, rounds, task.0.load(Ordering::SeqCst)), (Poll::Pending, 3, 0));
        kept.unwrap().wake();
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
        let _ = quiet.rounds(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        assert_eq!(task.0.load(Ordering::SeqCst), 2, "others get their turn, and the rest is done afterwards");
    }
}
