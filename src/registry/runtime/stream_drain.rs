//! The drain of event streams before a stop: they end one after the other, so that their callers do not all come back
//! at once. Everything else goes on meanwhile.

use std::time::Duration;

use super::event_stream::STREAMS_COUNTED_MAX;
use super::registry::Registry;

/// The interval at which streams are asked to end.
const STEP: Duration = Duration::from_millis(50);

impl Registry {
    /// Says that the server is about to stop, then ends all event streams, evenly over the time `within`. Returns once
    /// none is open, or the time is over.
    pub async fn drain_streams(&self, within: Duration) {
        self.hub.drain();
        let mut steps = within.as_millis() / STEP.as_millis();
        while self.open_streams() > 0 && steps > 0 {
            let share = self.open_streams().div_ceil(usize::try_from(steps).unwrap_or(usize::MAX));
            self.hub.end_streams(share);
            tokio::time::sleep(STEP).await;
            steps -= 1;
        }
    }

    /// Returns true once the server is about to stop. It still serves until it is stopping.
    pub fn is_draining(&self) -> bool {
        self.hub.progress().borrow().draining
    }

    /// Waits until the server is about to stop.
    pub async fn until_draining(&self) {
        // An error is impossible, because the sender lives as long as this handle.
        let _ = self.hub.progress().wait_for(|progress| progress.draining).await;
    }

    fn open_streams(&self) -> usize {
        STREAMS_COUNTED_MAX.saturating_sub(self.streams.available_permits())
    }
}
