//! Opening the ports, and the message for a port that cannot be bound.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::anyhow;
use tokio::net::TcpListener;

use super::checked_config::CheckedConfig;
use super::publishing::PublishedPort;
use crate::proxy::{BoundProxy, Proxy, ProxySettings};
use crate::sockets::InheritedSockets;

/// Lower ports need a capability (capabilities(7)).
const PRIVILEGED: u16 = 1024;

/// The open ports, and the settings of the proxy that know of them.
pub(super) struct OpenPorts {
    pub(super) pipe: TcpListener,
    pub(super) api: TcpListener,
    pub(super) published: Option<PublishedPort>,
    pub(super) proxy: BoundProxy,
    pub(super) settings: ProxySettings,
}

impl OpenPorts {
    /// Opens all ports: those that were passed, and others on their configured addresses.
    pub(super) async fn open(
        config: &CheckedConfig,
        mut passed: InheritedSockets,
        settings: ProxySettings,
    ) -> anyhow::Result<Self> {
        let pipe = Port { name: "pipe", what: "the pipe protocol", key: "pipe.listen", flag: "--pipe-listen" };
        let api = Port { name: "api", what: "gRPC and REST", key: "api.listen", flag: "--api-listen" };
        let pipe = pipe.listen(config.plain.pipe.listen, &mut passed).await?;
        let api = api.listen(config.plain.api.listen, &mut passed).await?;
        let settings = ProxySettings { own: vec![pipe.local_addr()?, api.local_addr()?], ..settings };
        let proxy = bind_proxy(config, &settings, &mut passed)?;
        check_unclaimed(&passed)?;
        let published = PublishedPort::open(config).await?;
        Ok(Self { pipe, api, published, proxy, settings })
    }
}

/// A port: the name of its socket, its use in words, and the key and flag that configure its address.
struct Port {
    name: &'static str,
    what: &'static str,
    key: &'static str,
    flag: &'static str,
}

impl Port {
    /// Takes the passed socket of the port, or else binds it.
    async fn listen(&self, address: SocketAddr, passed: &mut InheritedSockets) -> anyhow::Result<TcpListener> {
        let listener = match passed.claim(self.name, address) {
            Some(listener) => TcpListener::from_std(listener),
            None => TcpListener::bind(address).await,
        };
        listener.map_err(|error| bind_error(self.what, address, self.key, self.flag, &error))
    }
}

/// Binds the ports of the proxy.
fn bind_proxy(
    config: &CheckedConfig,
    settings: &ProxySettings,
    passed: &mut InheritedSockets,
) -> anyhow::Result<BoundProxy> {
    let (http, https) = (config.plain.proxy.http, config.plain.proxy.https);
    let mut bound = Proxy::bind_on(settings, passed.claim("proxy", http))
        .map_err(|error| bind_error("HTTP", http, "proxy.http", "--proxy-http", &error))?;
    if let Some(https) = https {
        let cannot = |what, error| bind_error(what, https, "proxy.https", "--proxy-https", &error);
        bound.bind_secure_on(https, passed.claim("https", https)).map_err(|error| cannot("HTTPS", error))?;
        #[cfg(feature = "http3")]
        if config.plain.proxy.http3 {
            bound.bind_http3().map_err(|error| cannot("HTTP/3 over UDP", error))?;
        }
    }
    Ok(bound)
}

/// Refuses passed sockets that no port has taken: their connections would wait for ever.
fn check_unclaimed(passed: &InheritedSockets) -> anyhow::Result<()> {
    match passed.unclaimed() {
        None => Ok(()),
        Some(address) => Err(anyhow!(
            "the service manager passes a socket on {address}, which is no port of this configuration; in its unit, set \
             FileDescriptorName= to pipe, api, proxy or https, or listen on the configured port"
        )),
    }
}

/// Returns the message for a port that cannot be bound.
fn bind_error(what: &str, address: SocketAddr, key: &str, flag: &str, error: &std::io::Error) -> anyhow::Error {
    let cannot = format!("cannot listen on {address} for {what}: {error}");
    if error.kind() == ErrorKind::PermissionDenied && address.port() < PRIVILEGED {
        return anyhow!(
            "{cannot}; ports below {PRIVILEGED} need the capability CAP_NET_BIND_SERVICE: give it to the program with \
             `sudo setcap cap_net_bind_service=+ep PROGRAM`, or in a systemd unit with \
             AmbientCapabilities=CAP_NET_BIND_SERVICE, or choose a higher port with {key} or {flag}"
        );
    }
    anyhow!("{cannot}; choose another address with {key} or {flag}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_only_root_may_open_names_the_capability() {
        let said = |port: u16, kind: ErrorKind| {
            bind_error("HTTP", SocketAddr::from(([0, 0, 0, 0], port)), "proxy.http", "--proxy-http", &kind.into())
                .to_string()
        };
        assert!(said(80, ErrorKind::PermissionDenied).contains("CAP_NET_BIND_SERVICE"));
        assert!(!said(80, ErrorKind::AddrInUse).contains("CAP_NET_BIND_SERVICE"));
        assert!(said(8080, ErrorKind::AddrInUse).contains("choose another address with proxy.http or --proxy-http"));
    }
}
