//! The parts that a reload makes anew from the configuration: the services of the API port, and the defaults of routes.

use std::sync::Arc;
use std::time::Duration;

use crate::lifecycle::Lifecycle;
use crate::operator_auth::{AllowedHosts, OperatorAuth};
use crate::registry::Registry;
use crate::request_log::RequestLog;
use crate::rest::MetricsSource;
use crate::traffic::RouteDefaults;
use crate::{api_listener, dashboard, grpc, random, rest};

use super::checked_config::CheckedConfig;

/// The silence after which an event stream sends a sign of life.
const EVENTS_SILENT_MAX: Duration = Duration::from_secs(15);

/// Returns the settings of routes that set none themselves.
pub(super) fn route_defaults(config: &CheckedConfig, seed: u128) -> RouteDefaults {
    RouteDefaults { options: config.default_options.clone(), headers: config.default_headers.clone(), seed }
}

/// Creates the services of the API port: gRPC and REST.
pub(super) fn api_services(
    registry: &Registry,
    config: &CheckedConfig,
    has_tls: bool,
    operators: &Arc<OperatorAuth>,
    (requests, metrics): (&RequestLog, &MetricsSource),
    lifecycle: &Lifecycle,
) -> api_listener::ApiServices {
    let protected = has_tls || !config.tokens.is_empty();
    let hosts = AllowedHosts::new(protected, config.api_hosts.clone(), Arc::clone(operators));
    let max_body = config.plain.api.max_body;
    let grpc =
        grpc::GrpcSettings { max_body, nonce: random::bits, keep_alive: EVENTS_SILENT_MAX, requests: requests.clone() };
    let rest = rest::RestSettings {
        max_body,
        cors: config.plain.api.cors.clone(),
        keep_alive: EVENTS_SILENT_MAX,
        requests: requests.clone(),
        metrics: Some(metrics.clone()),
        ..rest::RestSettings::new(random::bits)
    };
    api_listener::ApiServices {
        is_grpc: grpc::is_call,
        grpc: grpc::routes(registry.clone(), Arc::clone(operators), lifecycle.clone(), &grpc),
        rest: dashboard::in_front_of(rest::router(registry.clone(), Arc::clone(operators), lifecycle.clone(), rest)),
        hosts,
        trusted_proxies: config.plain.proxy.trusted_proxies.clone(),
        refuse_grpc: grpc::refuse,
        refuse_rest: rest::refuse,
    }
}
