//! The state that all gRPC calls share: the registry, and the owner of tasks that outlive a call.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::domain::{Error, OperatorName};
use crate::lifecycle::Lifecycle;
use crate::operator_auth::CallerAddresses;
use crate::registry::{CallMark, CallOrigin, Command, CommandCall, Interface, QueryCall, Registry};
use crate::request_log::RequestLog;

use tonic::{Request, Status};

use super::status::fault;

/// The limits of the gRPC interface, and its source of random bits.
#[derive(Clone, Debug)]
pub struct GrpcSettings {
    /// The maximum length of a request message in bytes, before and after decompression.
    pub max_body: usize,
    /// Returns 128 random bits, from which a session id is made.
    pub nonce: fn() -> u128,
    /// The silence after which a stream sends a heartbeat.
    pub keep_alive: Duration,
    /// The requests that the proxy has finished.
    pub requests: RequestLog,
}

/// The state that all gRPC calls share. Cheap to clone.
#[derive(Clone)]
pub(super) struct GrpcState(Arc<GrpcParts>);

/// The parts of the state.
pub(super) struct GrpcParts {
    pub(super) registry: Registry,
    lifecycle: Lifecycle,
    nonce: fn() -> u128,
    keep_alive: Duration,
    pub(super) requests: RequestLog,
}

/// The state for one call, with the origin of the call. Cheap to clone.
#[derive(Clone)]
pub(super) struct CallState {
    pub(super) origin: CallOrigin,
    parts: Arc<GrpcParts>,
}

impl Deref for CallState {
    type Target = GrpcParts;

    fn deref(&self) -> &GrpcParts {
        &self.parts
    }
}

impl GrpcState {
    pub(super) fn new(registry: Registry, lifecycle: Lifecycle, settings: &GrpcSettings) -> Self {
        let GrpcSettings { nonce, keep_alive, requests, .. } = settings;
        let requests = requests.clone();
        Self(Arc::new(GrpcParts { registry, lifecycle, nonce: *nonce, keep_alive: *keep_alive, requests }))
    }

    /// Returns the state for a call.
    pub(super) fn of<T>(&self, request: &Request<T>) -> CallState {
        let found = request.extensions();
        let origin = CallOrigin::new(Interface::Grpc, found.get::<CallerAddresses>().map(|peer| peer.client));
        let (operator, mark) = (found.get::<OperatorName>().cloned(), found.get::<CallMark>().cloned());
        let origin = CallOrigin { operator, mark: mark.unwrap_or_default(), ..origin };
        CallState { origin, parts: Arc::clone(&self.0) }
    }
}

impl GrpcParts {
    /// The silence after which a stream sends a heartbeat.
    pub(super) fn keep_alive(&self) -> Duration {
        self.keep_alive
    }

    /// Returns true once the server begins to stop.
    pub(super) fn is_stopping(&self) -> bool {
        self.registry.is_draining() || self.lifecycle.stopping().is_cancelled()
    }

    /// Returns 128 random bits.
    pub(super) fn nonce(&self) -> u128 {
        (self.nonce)()
    }
}

impl CallState {
    /// Executes a command, and returns its reply.
    pub(super) async fn call<C: CommandCall>(&self, command: C) -> Result<C::Reply, Error> {
        self.registry.call(self.origin.clone(), command).await
    }

    /// Answers a query with the message that `view` makes from its reply.
    pub(super) async fn ask<Q: QueryCall, T>(&self, query: Q, view: impl FnOnce(Q::Reply) -> T) -> Result<T, Status> {
        Ok(self.registry.ask(query, view).await?)
    }

    /// Executes a maintenance request, and returns when it is accepted. A task waits for its outcome and publishes it
    /// as an event, even if the caller has gone.
    pub(super) async fn accept(&self, command: impl Into<Command>) -> Result<(), Status> {
        let (accepted, answered) = oneshot::channel();
        let request = self.registry.clone().maintain(self.origin.clone(), command.into(), accepted);
        self.lifecycle.spawn_one("gRPC maintenance", request);
        match answered.await {
            Ok(answer) => answer.map_err(Status::from),
            Err(_) => Err(fault()),
        }
    }
}
