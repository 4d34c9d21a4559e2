//! The source of the text of metrics, which `app` gives to the interface.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::metrics::{AcceptedText, ScrapeText, TextTooLong};

/// The source of the text of metrics. Cheap to clone; all clones take turns.
#[derive(Clone)]
pub struct MetricsSource {
    pub(super) write: Arc<dyn Fn(AcceptedText) -> Result<ScrapeText, TextTooLong> + Send + Sync>,
    pub(super) turns: Arc<Semaphore>,
}

impl MetricsSource {
    /// Creates a source with the function that writes the text.
    pub fn new(write: impl Fn(AcceptedText) -> Result<ScrapeText, TextTooLong> + Send + Sync + 'static) -> Self {
        Self { write: Arc::new(write), turns: Arc::new(Semaphore::new(1)) }
    }
}

impl fmt::Debug for MetricsSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("MetricsSource")
    }
}
