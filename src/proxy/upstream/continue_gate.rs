//! A gate that holds a request body back until the backend asks for it (RFC 9110 §10.1.1).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

/// A gate before a request body. hyper asks the client for the body when it first polls it, and calls back from
/// a place that demands `Sync`: this is why the gate is not a `Cell`.
#[derive(Debug, Default)]
pub(crate) struct ContinueGate {
    open: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl ContinueGate {
    /// Lets the body pass and wakes the task that waits for it.
    pub(crate) fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        waker.into_iter().for_each(Waker::wake);
    }

    /// True once the body may pass.
    pub(crate) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Has the task woken when the gate opens.
    pub(crate) fn wait(&self, cx: &Context<'_>) {
        *self.waker.lock().unwrap_or_else(PoisonError::into_inner) = Some(cx.waker().clone());
    }
}
