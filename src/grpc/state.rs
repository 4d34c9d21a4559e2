//! What every call has at hand: the registry, and what runs on when the call is over.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::Error;
use crate::lifecycle::Lifecycle;
use crate::registry::{Command, CommandCall, QueryCall, Registry};

use tonic::Status;

use super::status::fault;

/// The bounds of the door, and its source of chance.
#[derive(Clone, Copy, Debug)]
pub struct GrpcSettings {
    /// The most bytes of a request message, as it comes and unpacked.
    pub max_body: usize,
    /// Gives 128 bits that nobody can guess; a session id is made of each.
    pub nonce: fn() -> u128,
    /// A stream that was silent for so long says that it is alive.
    pub keep_alive: Duration,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct GrpcState {
    pub(super) registry: Registry,
    lifecycle: Lifecycle,
    nonce: fn() -> u128,
    keep_alive: Duration,
}

impl GrpcState {
    pub(super) fn new(registry: Registry, lifecycle: Lifecycle, settings: &GrpcSettings) -> Self {
        Self { registry, lifecycle, nonce: settings.nonce, keep_alive: settings.keep_alive }
    }

    /// A stream that was silent for so long says that it is alive.
    pub(super) fn keep_alive(&self) -> Duration {
        self.keep_alive
    }

    /// 128 bits that nobody can guess.
    pub(super) fn nonce(&self) -> u128 {
        (self.nonce)()
    }

    /// Has a command decided, and returns its reply.
    pub(super) async fn call<C: CommandCall>(&self, command: C) -> Result<C::Reply, Error> {
        self.registry.call(command).await
    }

    /// Answers a query with the message that `view` makes of its reply.
    pub(super) async fn ask<Q: QueryCall, T>(&self, query: Q, view: impl FnOnce(Q::Reply) -> T) -> Result<T, Status> {
        Ok(self.registry.ask(query, view).await?)
    }

    /// Has a maintenance request decided, and answers once it is accepted; its outcome is awaited in the background
    /// and told as an event, also if the caller has gone meanwhile.
    pub(super) async fn accept(&self, command: impl Into<Command>) -> Result<(), Status> {
        let (accepted, answered) = oneshot::channel();
        self.lifecycle.spawn_one("gRPC maintenance", self.registry.clone().maintain(command.into(), accepted));
        match answered.await {
            Ok(answer) => answer.map_err(Status::from),
            Err(_) => Err(fault()),
        }
    }
}
