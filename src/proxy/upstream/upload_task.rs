//! The task that sends the rest of a request's body beside its response.
//!
//! Invariants: it ends with the request at the latest.

use tokio::task::AbortHandle;

use crate::lifecycle;

/// The task of the rest of a body. It is aborted when it is dropped.
pub(super) struct UploadTask(AbortHandle);

impl UploadTask {
    /// Starts to send.
    pub(super) fn spawn(sending: impl Future<Output = ()> + 'static) -> Self {
        Self(lifecycle::spawn_local(sending))
    }
}

impl Drop for UploadTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}
