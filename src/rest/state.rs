//! The state that all REST requests share, and the bounds of the interface.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::Lifecycle;
use crate::operator_auth::OperatorAuth;
use crate::registry::Registry;

/// The bounds and choices of the REST interface.
#[derive(Clone, Debug)]
pub struct RestSettings {
    /// The most bytes of a body.
    pub max_body: usize,
    /// Returns 128 random bits, from which a session id is made.
    pub nonce: fn() -> u128,
    /// From one comment to the next on a stream of events that is otherwise silent.
    pub keep_alive: Duration,
    /// The origins whose pages may call; none by default.
    pub cors: Vec<String>,
}

impl RestSettings {
    /// The defaults.
    pub fn new(nonce: fn() -> u128) -> Self {
        Self { max_body: 1024 * 1024, nonce, keep_alive: Duration::from_secs(15), cors: Vec::new() }
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
