//! A gate that holds a request body back until the backend asks for it (RFC 9110 §10.1.1).

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

/// A gate before a request body. hyper asks the client for the body when it first polls it.
#[derive(Debug, Default)]
pub(crate) struct ContinueGate {
    open: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl ContinueGate {
    /// Lets the body pass and wakes the task that waits for it.
    pub(crate) fn open(&self) {
        self.open.set(true);
        self.waker.take().into_iter().for_each(Waker::wake);
    }

    /// True once the body may pass.
    pub(crate) fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Has the task woken when the gate opens.
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        self.waker.replace(Some(cx.waker().clone()));
    }
}
