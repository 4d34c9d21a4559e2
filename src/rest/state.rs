//! The state that all REST requests share, and the limits of the interface.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::Lifecycle;
use crate::operator_auth::OperatorAuth;
use crate::registry::Registry;
use crate::request_log::RequestLog;

use super::metrics_source::MetricsSource;

/// The limits and options of the REST interface.
#[derive(Clone, Debug)]
pub struct RestSettings {
    /// The maximum length of a body in bytes.
    pub max_body: usize,
    /// Returns 128 random bits, from which a session id is made.
    pub nonce: fn() -> u128,
    /// The silence after which a stream of events sends a comment.
    pub keep_alive: Duration,
    /// The requests that the proxy has finished.
    pub requests: RequestLog,
    /// The origins whose pages may call the interface; none by default.
    pub cors: Vec<String>,
    /// The source of `/metrics`; without it there is no such path.
    pub metrics: Option<MetricsSource>,
}

impl RestSettings {
    /// Creates the default settings.
    pub fn new(nonce: fn() -> u128) -> Self {
        Self {
            max_body: 1024 * 1024,
            nonce,
            keep_alive: Duration::from_secs(15),
            requests: RequestLog::default(),
            cors: Vec::new(),
            metrics: None,
        }
    }
}

/// The state that all REST requests share. Cheap to clone.
#[derive(Clone)]
pub(super) struct RestState(pub(super) Arc<StateInner>);

pub(super) struct StateInner {
    pub(super) registry: Registry,
    pub(super) operators: Arc<OperatorAuth>,
    pub(super) lifecycle: Lifecycle,
    pub(super) settings: RestSettings,
}

impl Deref for RestState {
    type Target = StateInner;

    fn deref(&self) -> &StateInner {
        &self.0
    }
}
