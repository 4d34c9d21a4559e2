//! gRPC: one of the registry's interfaces, typed. `proto/signalbox/v1` is its contract.
//!
//! A call's life: `deadline` bounds its time and catches what must not happen → `authorize` for operators' calls → the row in
//! `service` → its family's function, which reads values with `convert` → the registry → `convert` → a message, or
//! `status` of the refusal. It decides nothing about sessions or routes, binds no port, and knows no other interface.
//! Invariants: whatever one caller sends affects that call alone; no session id leaves in anything but its own
//! caller's answers.

#![allow(
    clippy::unused_async,
    reason = "the rows of `service` call all functions alike, those that wait and those that do not"
)]

mod authorize;
mod config;
mod convert;
mod deadline;
mod events;
mod health;
mod operations;
mod operator;
pub mod proto;
mod reflection;
mod routes;
mod service;
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

/// The most bytes of a response message. A session that may have 200,000 routes is listed in one.
const RESPONSE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// True if a request is a gRPC call, and so for [`routes`], whatever its path.
///
/// gRPC-Web is not: its framing is another.
pub fn is_call(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    kind.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Answers gRPC calls: `Registry`, `Operator`, health and reflection; any other path is `UNIMPLEMENTED`.
///
/// It expects [`crate::operator_auth::CallerAddresses`] in every request's extensions. What it does in the background belongs to
/// `lifecycle`. Health says so from the moment the server is told to stop.
pub fn routes(
    registry: Registry,
    operators: Arc<OperatorAuth>,
    lifecycle: Lifecycle,
    settings: GrpcSettings,
) -> Router {
    let health = HealthServer::new(Health::new(registry.clone(), lifecycle.clone()))
        .max_decoding_message_size(settings.max_body)
        .accept_compressed(Gzip)
        .send_compressed(Gzip);
    let state = GrpcState::new(registry, lifecycle, &settings);
    let operator = OperatorServer::new(state.clone())
        .max_decoding_message_size(settings.max_body)
        .max_encoding_message_size(RESPONSE_BYTES_MAX)
        .accept_compressed(Gzip)
        .send_compressed(Gzip);
    let guarded = Routes::new(operator)
        .into_axum_router()
        .reset_fallback()
        .route_layer(from_fn_with_state(operators, authorize::authorize_operator));
    let registry = RegistryServer::new(state)
        .max_decoding_message_size(settings.max_body)
        .max_encoding_message_size(RESPONSE_BYTES_MAX)
        .accept_compressed(Gzip)
        .send_compressed(Gzip);
    reflected(Routes::new(registry).add_service(health)).merge(guarded).layer(from_fn(deadline::enforce_deadline))
}

/// Adds reflection, in the version that is and the one that many tools still ask for, which differ in their names
/// alone.
fn reflected(routes: Routes) -> Router {
    let sets = [
        proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_types::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let reflection = Reflection::new(&sets).unwrap_or_else(|error| {
        // The descriptors were linked when the program was built.
        tracing::error!(%error, "gRPC reflection is left out");
        Reflection::default()
    });
    let service = ServerReflectionServer::new(reflection).accept_compressed(Gzip).send_compressed(Gzip);
    let before = service.clone().map_request(|mut request: http::Request<Body>| {
        *request.uri_mut() = Uri::from_static(REFLECTION);
        request
    });
    routes.add_service(service).into_axum_router().route_service(REFLECTION_BEFORE, before)
}

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const REFLECTION_BEFORE: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
