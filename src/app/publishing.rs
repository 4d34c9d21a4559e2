//! `api.publish`: the dashboard and the calls of operators under a domain of the proxy.
//!
//! The proxy forwards the domain to a port on loopback, as it forwards to any backend; the route is a service of the
//! server's own. The port serves what the API port serves, except gRPC and the calls of sessions. Invariant: nothing
//! is published while there is no operator token; the configuration is refused then.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use tokio::net::TcpListener;

use super::checked_config::CheckedConfig;
use super::services_folder::FoundFile;
use crate::api_listener::ApiServices;
use crate::connection_limits::{ConnectionLimits, PortConnections};
use crate::operator_auth::{AllowedHosts, OperatorAuth};
use crate::rest;

/// The owner of the route: the key that asks for it.
const OWNER: &str = "api.publish";
/// The address that the proxy comes from.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The port to which the proxy forwards.
pub(super) struct PublishedPort {
    /// The listener on loopback.
    pub(super) listener: TcpListener,
    /// The service whose route leads to it, in the form of a file.
    pub(super) service: FoundFile,
}

impl PublishedPort {
    /// Opens a port of the system's choice; `None` if nothing is to be published.
    ///
    /// # Errors
    /// If the system has no port.
    pub(super) async fn open(config: &CheckedConfig) -> anyhow::Result<Option<Self>> {
        let Some(domain) = &config.published else { return Ok(None) };
        let listener = TcpListener::bind(SocketAddr::new(PROXY, 0)).await;
        let listener = listener.context("api.publish: cannot listen on 127.0.0.1 for the proxy")?;
        // A token must not pass in plain text where TLS is at hand.
        let redirect = config.plain.proxy.https.is_some();
        let text = format!(
            "[[services]]\nname = \"signalbox\"\n[[services.instances]]\nname = \"dashboard\"\n\
             backend = \"http://{}\"\ndomains = [\"{domain}\"]\noptions = {{ https_redirect = {redirect} }}\n",
            listener.local_addr()?
        );
        let service = FoundFile { name: OWNER.into(), path: PathBuf::from(OWNER), text: Ok(text) };
        Ok(Some(Self { listener, service }))
    }
}

/// Returns the part of `api` that is published.
pub(super) fn published_services(
    api: &ApiServices,
    config: &CheckedConfig,
    operators: &Arc<OperatorAuth>,
) -> ApiServices {
    let trusted_proxies = api.trusted_proxies.iter().copied().chain([PROXY.into()]).collect();
    ApiServices {
        is_grpc: |_| false,
        grpc: Router::new(),
        rest: rest::without_sessions(api.rest.clone()),
        hosts: AllowedHosts::new(false, config.published.iter().cloned().collect(), Arc::clone(operators)),
        trusted_proxies,
        ..api.clone()
    }
}

/// Returns the connections of the port. All come from the proxy, so no address has a share of its own.
pub(super) fn connections(config: &CheckedConfig) -> PortConnections {
    PortConnections::new(limits(config), vec![PROXY.into()])
}

/// Puts the bounds of a configuration in force.
pub(super) fn set_limits(connections: &PortConnections, config: &CheckedConfig) {
    connections.set_rules(limits(config), vec![PROXY.into()]);
}

fn limits(config: &CheckedConfig) -> ConnectionLimits {
    let counts = config.plain.api.connections;
    ConnectionLimits { all: counts.all, of_origin: counts.of_address }
}
