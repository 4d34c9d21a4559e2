//! The state that the streams of one connection share: the list of them, the bytes under way, and the memory for both.
//!
//! Invariants: a stream leaves the list when it ends, for any reason; while as many bytes wait for the socket as may, no body is
//! read; what streams hold for want of a window holds up no other stream.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::memory_budget::{MemoryFull, MemoryShare};
use crate::proxy::context::client::ClientContext;
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::http2::date::DateField;
use crate::proxy::upstream::read_ahead::ReadAheadPlaces;

/// The most bytes that a client may send ahead on one stream.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 256 * 1024;
/// The most bytes that a client may send ahead on all streams of a connection.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 1024 * 1024;
/// The memory of a connection without streams, beyond that of every connection: the buffers and tables of `h2`.
const BASE_BYTES: usize = 20 * 1024;
/// The number of bytes that wait for the socket from which on no body is read. A frame of a body has at most 128 KiB, so that with
/// what streams read ahead and hold less than 1 MiB ever waits.
const QUEUED_BYTES_MAX: usize = 256 * 1024;
/// The most streams that a client may reset in excess of those that it lets end.
const CANCELLED_MAX: u32 = 256;

/// The state that the streams of one connection share.
pub(crate) struct StreamShare {
    pub(crate) worker: Rc<WorkerContext>,
    /// The connection.
    pub(crate) client: Rc<ClientContext>,
    listed: RefCell<Vec<ListedStream>>,
    // The bytes that wait for the socket.
    queued: Cell<usize>,
    // The bytes that clients may send ahead of the backends.
    uploads: Cell<usize>,
    // The streams that wait until fewer bytes wait.
    waiting: RefCell<Vec<Waker>>,
    memory: RefCell<MemoryShare>,
    // The memory of the connection itself.
    _base: MemoryShare,
    cancelled: Cell<u32>,
    read_ahead: Rc<ReadAheadPlaces>,
    pub(crate) date: DateField,
}

struct ListedStream {
    client: Rc<ClientContext>,
    waker: Waker,
}

/// The entry of a stream in the list. It ends with the stream.
pub(crate) struct StreamEntry {
    pub(crate) share: Rc<StreamShare>,
    /// The client, as the request of this stream sees it.
    pub(crate) client: Rc<ClientContext>,
    upload: usize,
}

impl StreamShare {
    pub(crate) fn new(worker: &Rc<WorkerContext>, client: &Rc<ClientContext>) -> Rc<Self> {
        let memory = RefCell::new(worker.settings.memory.connection());
        let base = worker.settings.memory.take_always(BASE_BYTES);
        Rc::new(Self {
            worker: Rc::clone(worker),
            client: Rc::clone(client),
            listed: RefCell::default(),
            queued: Cell::new(0),
            uploads: Cell::new(0),
            waiting: RefCell::default(),
            memory,
            _base: base,
            cancelled: Cell::new(0),
            read_ahead: Rc::default(),
            date: DateField::new(),
        })
    }

    /// Wakes the streams that are due, and has the connection woken for the next one. Returns false if there are no streams.
    pub(crate) fn wake_due(&self, now: u32) -> bool {
        let mut next = None::<u32>;
        let listed = self.listed.borrow();
        for stream in listed.iter() {
            match stream.client.state.due() {
                Some(due) if due > now => next = Some(next.map_or(due, |next| next.min(due))),
                Some(_) => stream.waker.wake_by_ref(),
                None => {}
            }
        }
        self.client.wake_at(&self.worker.connections, next);
        !listed.is_empty()
    }

    /// Counts bytes that a stream has taken from a backend.
    pub(crate) fn hold(&self, bytes: usize) {
        self.read_ahead.hold(bytes);
    }

    /// Counts bytes that a stream holds no longer. If they were `queued`, they wait for the socket now.
    pub(crate) fn let_go(&self, bytes: usize, queued: bool) {
        self.read_ahead.let_go(bytes);
        if queued {
            self.queued.set(self.queued.get() + bytes);
        }
        self.wake_waiting();
    }

    /// Notes that the connection has written all that it could.
    pub(crate) fn flushed(&self) {
        if self.queued.get() > 0 && !self.client.state.is_stuck() {
            self.queued.set(0);
            self.wake_waiting();
        }
    }

    fn unsent(&self) -> usize {
        self.read_ahead.held() + self.queued.get()
    }

    /// Waits until a body may be read.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.queued.get() < QUEUED_BYTES_MAX {
            return Poll::Ready(());
        }
        self.waiting.borrow_mut().push(cx.waker().clone());
        Poll::Pending
    }

    fn wake_waiting(&self) {
        if self.queued.get() < QUEUED_BYTES_MAX {
            // None of them runs here, so none can add itself meanwhile.
            self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
        }
    }

    /// Draws memory for the bytes that wait, and gives back what is not needed any more.
    ///
    /// # Errors
    /// [`MemoryFull`] if there is none.
    pub(crate) fn draw_memory(&self) -> Result<(), MemoryFull> {
        let uploads = self.uploads.get().min(CONNECTION_WINDOW_BYTES as usize);
        self.memory.borrow_mut().set(self.unsent() + uploads)
    }

    /// Notes how a stream ended.
    pub(crate) fn ended(&self, cancelled: bool) {
        let count = self.cancelled.get();
        self.cancelled.set(if cancelled { count + 1 } else { count.saturating_sub(1) });
    }

    /// True if the client resets streams and hardly does anything else.
    pub(crate) fn is_flooded(&self) -> bool {
        self.cancelled.get() > CANCELLED_MAX
    }

    /// Enters a stream whose request has a body of `length`, or of unknown length.
    ///
    /// # Errors
    /// [`MemoryFull`] if there is no memory for the body.
    pub(crate) async fn enter(
        self: &Rc<Self>,
        has_body: bool,
        length: Option<usize>,
    ) -> Result<StreamEntry, MemoryFull> {
        let upload = if has_body { length.unwrap_or(usize::MAX).min(STREAM_WINDOW_BYTES as usize) } else { 0 };
        let client = Rc::new(self.client.of_stream(&self.worker.ticks, self.read_ahead.take()));
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        self.listed.borrow_mut().push(ListedStream { client: Rc::clone(&client), waker });
        self.uploads.set(self.uploads.get() + upload);
        let entry = StreamEntry { share: Rc::clone(self), client, upload };
        if upload > 0 {
            self.draw_memory()?;
        }
        Ok(entry)
    }
}

impl Drop for StreamEntry {
    fn drop(&mut self) {
        let mut listed = self.share.listed.borrow_mut();
        if let Some(at) = listed.iter().position(|stream| Rc::ptr_eq(&stream.client, &self.client)) {
            listed.swap_remove(at);
        }
        self.share.uploads.set(self.share.uploads.get() - self.upload);
    }
}
