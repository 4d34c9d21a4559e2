//! gRPC: one of the registry's interfaces, typed. `proto/signalbox/v1` is its contract.
//!
//! The way of a call: `counted_calls` counts it unless the registry does → `deadline` limits its time and catches panics → `authorize` checks operators' calls → the row in
//! `service` → the function of the call, which reads values with `convert` → the registry → `convert` → a message, or
//! `status` makes a status of the refusal. It decides nothing about sessions or routes, binds no port, and knows no
//! other interface. Invariants: a call can harm only itself; a session id appears only in replies to its own caller.

#![allow(
    clippy::unused_async,
    reason = "the rows of `service` call all functions alike, those that wait and those that do not"
)]

mod audit;
mod authorize;
mod backup;
mod config;
mod convert;
mod counted_calls;
mod deadline;
mod events;
mod exports;
mod health;
mod history;
mod instance_config;
mod operations;
mod operator;
pub mod proto;
mod reflection;
mod requests;
mod routes;
mod service;
mod services;
mod sessions;
mod settings;
mod state;
mod status;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::middleware::{from_fn, from_fn_with_state};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Uri};
use tonic::codec::CompressionEncoding::Gzip;
use tonic::service::Routes;
use tonic_reflection::server::v1::ServerReflectionServer;
use tower::ServiceExt as _;

use crate::lifecycle::Lifecycle;
use crate::operator_auth::OperatorAuth;
use crate::registry::Registry;

pub use authorize::refuse;
use health::{Health, HealthServer};
use proto::operator_server::OperatorServer;
use proto::registry_server::RegistryServer;
use reflection::Reflection;
pub use state::GrpcSettings;
use state::GrpcState;

/// The maximum length of a response message in bytes. One message lists a session of up to 200,000 routes.
const RESPONSE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Returns true if a request is a gRPC call, which [`routes`] answers, whatever its path.
///
/// A gRPC-Web request is not a gRPC call: its framing differs.
pub fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Returns the router for gRPC calls: `Registry`, `Operator`, health and reflection. Any other path is `UNIMPLEMENTED`.
///
/// It expects [`crate::operator_auth::CallerAddresses`] in every request's extensions. Its background tasks belong to
/// `lifecycle`. The health service reports the stop as soon as the server begins to stop.
pub fn routes(
    registry: Registry,
    operators: Arc<OperatorAuth>,
    lifecycle: Lifecycle,
    settings: &GrpcSettings,
) -> Router {
    let health = HealthServer::new(Health::new(registry.clone(), lifecycle.clone()))
        .max_decoding_message_size(settings.max_body)
        .accept_compressed(Gzip)
        .send_compressed(Gzip);
    let counted = from_fn_with_state(registry.clone(), counted_calls::count_call);
    let state = GrpcState::new(registry, lifecycle, settings);
    let operator = OperatorServer::new(state.clone())
        .max_decoding_message_size(settings.max_body)
        .max_encoding_message_size(RESPONSE_BYTES_MAX)
        .accept_compressed(Gzip)
        .send_compressed(Gzip);
    let guarded = Routes::new(operator)
        .into_axum_router()
        .reset_fallback()
        .route_layer(from_fn_with_state(Arc::clone(&operators), authorize::authorize_operator));
    let registry = RegistryServer::new(state)
        .max_decoding_message_size(settings.max_body)
        .max_encoding_message_size(RESPONSE_BYTES_MAX)
        .accept_compressed(Gzip)
        .send_compressed(Gzip);
    reflected(Routes::new(registry).add_service(health))
        .layer(from_fn_with_state(operators, authorize::name_operator))
        .merge(guarded)
        .layer(from_fn(deadline::enforce_deadline))
        .layer(counted)
}

/// Adds reflection in version 1 and in version 1alpha, which many tools still use. The two differ only in their names.
fn reflected(routes: Routes) -> Router {
    let service = ServerReflectionServer::new(Reflection).accept_compressed(Gzip).send_compressed(Gzip);
    let before = service.clone().map_request(|mut request: http::Request<Body>| {
        *request.uri_mut() = Uri::from_static(REFLECTION);
        request
    });
    routes.add_service(service).into_axum_router().route_service(REFLECTION_BEFORE, before)
}

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const REFLECTION_BEFORE: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
