//! The long streams of a worker: tunnels and event streams, which would outlast every stop if nobody asked them to end.
//!
//! The worker asks, a share of them at each tick; each stream ends itself where its protocol allows it. Invariants: a
//! stream is in the list for as long as it is open; only long streams pay for the list.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::task::{Context, Waker};

/// The request to a long stream to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndRequest {
    /// The stream goes on.
    None,
    /// The stream ends as soon as its protocol allows it.
    AtBoundary,
    /// The time is over: the stream ends where it is.
    Now,
}

/// The open long streams of a worker.
#[derive(Debug, Default)]
pub(crate) struct LongStreams {
    open: RefCell<HashMap<u64, Rc<StreamEnd>>>,
    next: Cell<u64>,
    // True once the time for long streams is over: new ones end at their first boundary.
    over: Cell<bool>,
}

#[derive(Debug)]
struct StreamEnd {
    request: Cell<EndRequest>,
    waker: RefCell<Option<Waker>>,
}

/// The place of a long stream in the list. It leaves the list when this is dropped.
#[derive(Debug)]
pub(crate) struct LongStream {
    list: Rc<LongStreams>,
    id: u64,
    end: Rc<StreamEnd>,
}

impl LongStreams {
    /// Enters a stream that begins.
    pub(crate) fn enter(self: &Rc<Self>) -> LongStream {
        let request = if self.over.get() { EndRequest::AtBoundary } else { EndRequest::None };
        let end = Rc::new(StreamEnd { request: Cell::new(request), waker: RefCell::default() });
        let id = self.next.replace(self.next.get() + 1);
        self.open.borrow_mut().insert(id, Rc::clone(&end));
        LongStream { list: Rc::clone(self), id, end }
    }

    /// Returns true if no long stream is open.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty()
    }

    /// Asks so many streams to end that all are asked after `steps_left` further calls.
    pub(crate) fn ask_share(&self, steps_left: u32) {
        let open = self.open.borrow();
        let unasked = || open.values().filter(|end| end.request.get() == EndRequest::None);
        let share = unasked().count().div_ceil(steps_left.max(1) as usize);
        unasked().take(share).for_each(|end| end.ask(EndRequest::AtBoundary));
    }

    /// Ends all streams where they are. Streams that begin later end at their first boundary.
    pub(crate) fn end_all(&self) {
        self.over.set(true);
        self.open.borrow().values().for_each(|end| end.ask(EndRequest::Now));
    }
}

impl StreamEnd {
    fn ask(&self, request: EndRequest) {
        self.request.set(request);
        if let Some(waker) = self.waker.borrow().as_ref() {
            waker.wake_by_ref();
        }
    }
}

impl LongStream {
    /// Returns the present request. The task of `cx` is woken when it changes.
    pub(crate) fn end_request(&self, cx: &Context<'_>) -> EndRequest {
        let mut waker = self.end.waker.borrow_mut();
        if waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.end.request.get()
    }

    /// Ends the stream where it is, because one side of it has ended in order.
    pub(crate) fn end_now(&self) {
        self.end.ask(EndRequest::Now);
    }
}

impl Drop for LongStream {
    fn drop(&mut self) {
        self.list.open.borrow_mut().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(streams: &[LongStream]) -> usize {
        let cx = Context::from_waker(Waker::noop());
        streams.iter().filter(|stream| stream.end_request(&cx) != EndRequest::None).count()
    }

    #[test]
    fn the_streams_are_asked_evenly_over_the_time_also_those_that_begin_meanwhile() {
        let list = Rc::new(LongStreams::default());
        let mut streams: Vec<LongStream> = (0..100).map(|_| list.enter()).collect();
        let mut counts = Vec::new();
        for left in (1..=10).rev() {
            list.ask_share(left);
            counts.push(asked(&streams));
            if left == 6 {
                streams.extend((0..50).map(|_| list.enter()));
            }
        }
        assert_eq!(counts, [10, 20, 30, 40, 50, 70, 90, 110, 130, 150]);
        drop(streams);
        assert!(list.is_empty());
    }

    #[test]
    fn the_only_stream_is_asked_at_once_and_one_that_begins_after_the_time_at_its_beginning() {
        let list = Rc::new(LongStreams::default());
        let only = [list.enter()];
        list.ask_share(200);
        assert_eq!(asked(&only), 1);
        list.end_all();
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(only[0].end_request(&cx), EndRequest::Now);
        assert_eq!(list.enter().end_request(&cx), EndRequest::AtBoundary);
    }
}
