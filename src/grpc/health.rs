//! The standard health service: it reports serving while every part works, until the server begins to stop.

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_server};

use crate::domain::{Error, Kind};
use crate::lifecycle::Lifecycle;
use crate::registry::Registry;

pub(super) use tonic_health::pb::health_server::HealthServer;

/// The services with a health status; the empty name is the whole server.
const KNOWN: [&str; 3] = ["", "signalbox.v1.Registry", "signalbox.v1.Operator"];

/// The health service.
pub(super) struct Health {
    registry: Registry,
    lifecycle: Lifecycle,
}

impl Health {
    pub(super) fn new(registry: Registry, lifecycle: Lifecycle) -> Self {
        Self { registry, lifecycle }
    }

    async fn now(&self) -> ServingStatus {
        if self.lifecycle.stopping().is_cancelled() || self.registry.readiness().await.is_err() {
            ServingStatus::NotServing
        } else {
            ServingStatus::Serving
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Health {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if KNOWN.contains(&request.get_ref().service.as_str()) {
            return Ok(Response::new(response(self.now().await)));
        }
        Err(Error::new(Kind::NotFound, "there is no such service here").into())
    }

    type WatchStream = BoxStream<'static, Result<HealthCheckResponse, Status>>;

    /// Sends the present status, and a second one when the server begins to stop; then the stream ends. An unknown
    /// service has a status of its own, as the standard requires, because it could appear later.
    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let known = KNOWN.contains(&request.get_ref().service.as_str());
        let now = if known { self.now().await } else { ServingStatus::ServiceUnknown };
        let (registry, stopping) = (self.registry.clone(), self.lifecycle.stopping().clone());
        let last = async move {
            let _ = stopping.run_until_cancelled(registry.until_draining()).await;
            Ok(response(if known { ServingStatus::NotServing } else { ServingStatus::ServiceUnknown }))
        };
        Ok(Response::new(stream::iter([Ok(response(now))]).chain(stream::once(last)).boxed()))
    }
}
