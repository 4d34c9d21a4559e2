//! The futures of a connection's streams. Each is polled only after it was woken.
//!
//! Invariants: no wake is lost, from whatever thread it comes; a place keeps its waker, so that a stream that ended may at most cause one
//! more poll of the stream that has its place now.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Wake, Waker};

use crate::proxy::http2::quiet_waker::QuietWaker;

/// The number of places: more than the streams that a client may have open, because a stream that was reset ends a little later.
const PLACES: usize = 2 * WORD_BITS;
const WORD_BITS: usize = 64;

/// The futures of a connection's streams.
pub(super) struct StreamSet<F> {
    places: Vec<StreamSlot<F>>,
    // The indexes of places without a future.
    free: Vec<usize>,
    woken: Arc<WokenStreams>,
}

struct StreamSlot<F> {
    future: Option<Pin<Box<F>>>,
    waker: Waker,
}

/// A bit for each place whose future is to be polled.
struct WokenStreams {
    bits: [AtomicU64; PLACES / WORD_BITS],
    connection: Arc<QuietWaker>,
}

/// The waker of a place.
struct StreamWaker {
    streams: Arc<WokenStreams>,
    place: usize,
}

impl WokenStreams {
    /// Notes that the future at `place` is to be polled. Returns false if that was known.
    fn note(&self, place: usize) -> bool {
        let bit = 1 << (place % WORD_BITS);
        // The index is always that of a place.
        self.bits.get(place / WORD_BITS).is_some_and(|word| word.fetch_or(bit, Ordering::SeqCst) & bit == 0)
    }
}

impl Wake for StreamWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.streams.note(self.place) {
            self.streams.connection.wake_by_ref();
        }
    }
}

impl<F: Future<Output = ()>> StreamSet<F> {
    /// Returns a set without futures. A wake of any of them wakes `connection`.
    pub(super) fn new(connection: Arc<QuietWaker>) -> Self {
        let woken = Arc::new(WokenStreams { bits: Default::default(), connection });
        Self { places: Vec::new(), free: Vec::new(), woken }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    /// True if no further future can be added.
    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.places.len() == PLACES
    }

    /// Adds a future, which is polled with those that were woken. The set must not be full.
    pub(super) fn push(&mut self, future: Pin<Box<F>>) {
        let place = self.free.pop().unwrap_or_else(|| {
            let place = self.places.len();
            let waker = Waker::from(Arc::new(StreamWaker { streams: Arc::clone(&self.woken), place }));
            self.places.push(StreamSlot { future: None, waker });
            place
        });
        if let Some(slot) = self.places.get_mut(place) {
            slot.future = Some(future);
        }
        self.woken.note(place);
    }

    /// Polls the futures that were woken since the last call. Those that end leave the set.
    pub(super) fn poll_woken(&mut self) {
        for (word, first) in self.woken.bits.iter().zip((0..).step_by(WORD_BITS)) {
            // Most of the time nothing was woken here.
            let mut bits = if word.load(Ordering::SeqCst) == 0 { 0 } else { word.swap(0, Ordering::SeqCst) };
            while bits != 0 {
                let place = first + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                let Some(slot) = self.places.get_mut(place) else { continue };
                let Some(future) = &mut slot.future else { continue };
                if future.as_mut().poll(&mut Context::from_waker(&slot.waker)).is_ready() {
                    slot.future = None;
                    self.free.push(place);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::poll_fn;
    use std::rc::Rc;
    use std::task::Poll;

    use super::*;

    /// A future that counts its polls, keeps its waker, and ends when it is told to.
    #[derive(Default)]
    struct Observed {
        polls: Cell<u32>,
        ends: Cell<bool>,
        waker: RefCell<Option<Waker>>,
    }

    impl Observed {
        fn future(self: &Rc<Self>) -> Pin<Box<dyn Future<Output = ()>>> {
            let observed = Rc::clone(self);
            Box::pin(poll_fn(move |cx| {
                observed.polls.set(observed.polls.get() + 1);
                observed.waker.replace(Some(cx.waker().clone()));
                if observed.ends.get() { Poll::Ready(()) } else { Poll::Pending }
            }))
        }

        fn wake(&self) {
            self.waker.borrow().iter().for_each(Waker::wake_by_ref);
        }
    }

    fn set() -> StreamSet<Pin<Box<dyn Future<Output = ()>>>> {
        StreamSet::new(QuietWaker::new(Waker::noop().clone()))
    }

    #[test]
    fn a_stream_is_polled_when_it_is_woken_and_not_otherwise() {
        let (mut set, streams) = (set(), [(); 3].map(|()| Rc::new(Observed::default())));
        streams.iter().for_each(|stream| set.push(Box::pin(stream.future())));
        let polls = || streams.each_ref().map(|stream| stream.polls.get());
        set.poll_woken();
        assert_eq!(polls(), [1; 3], "each is polled once after it was added");
        streams[1].wake();
        streams[1].wake();
        set.poll_woken();
        set.poll_woken();
        assert_eq!(polls(), [1, 2, 1]);
    }

    #[test]
    fn a_place_is_used_again_and_an_old_waker_does_no_harm() {
        let (mut set, first, next) = (set(), Rc::new(Observed::default()), Rc::new(Observed::default()));
        set.push(Box::pin(first.future()));
        assert!(!set.is_empty());
        first.ends.set(true);
        set.poll_woken();
        assert!(set.is_empty() && Rc::strong_count(&first) == 1, "a future that has ended is dropped");
        set.push(Box::pin(next.future()));
        assert_eq!(set.places.len(), 1);
        set.poll_woken();
        first.wake();
        set.poll_woken();
        assert_eq!((first.polls.get(), next.polls.get()), (1, 2));
    }

    #[test]
    fn there_is_room_for_more_streams_than_a_client_may_open() {
        let (mut set, stream) = (set(), Rc::new(Observed::default()));
        (0..PLACES).for_each(|_| set.push(Box::pin(stream.future())));
        assert!(set.is_full());
        set.poll_woken();
        assert_eq!(stream.polls.get() as usize, PLACES);
        stream.ends.set(true);
        stream.wake();
        set.poll_woken();
        assert!(!set.is_full() && !set.is_empty());
    }
}
