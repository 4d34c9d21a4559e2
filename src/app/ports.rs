//! Binding the ports, and the message for a port that cannot be bound.

use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::anyhow;
use tokio::net::TcpListener;

/// Lower ports need a capability (capabilities(7)).
const PRIVILEGED: u16 = 1024;

/// Binds a port for `what`. `key` and `flag` configure its address.
pub(super) async fn listen(what: &str, address: SocketAddr, key: &str, flag: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| bind_error(what, address, key, flag, &error))
}

/// Returns the message for a port that cannot be bound.
pub(super) fn bind_error(
    what: &str,
    address: SocketAddr,
    key: &str,
    flag: &str,
    error: &std::io::Error,
) -> anyhow::Error {
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
