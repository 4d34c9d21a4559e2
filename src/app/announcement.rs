//! The text on standard output after the start: all addresses and, while nothing is registered, the first steps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The facts about the server that the text shows.
pub(super) struct Announcement<'a> {
    pub(super) pipe: SocketAddr,
    pub(super) api: SocketAddr,
    pub(super) proxy: SocketAddr,
    /// The proxy's address for TLS.
    pub(super) proxy_tls: Option<SocketAddr>,
    /// The store's URL.
    pub(super) store: &'a str,
    pub(super) sessions: usize,
    pub(super) routes: usize,
    /// True if the pipe uses TLS.
    pub(super) pipe_has_tls: bool,
    /// True if the API port uses TLS.
    pub(super) api_has_tls: bool,
    /// True if `REGISTER` needs a token.
    pub(super) needs_token: bool,
}

impl Announcement<'_> {
    /// Returns the text without its last line break.
    pub(super) fn page(&self) -> String {
        let Self { pipe, api, proxy, store, sessions, routes, .. } = self;
        let proxy_tls =
            self.proxy_tls.map(|https| format!("\n  https  {https}   HTTPS requests come in here")).unwrap_or_default();
        let scheme = if self.api_has_tls { "https" } else { "http" };
        let version = env!("CARGO_PKG_VERSION");
        let addresses = format!(
            "Signalbox {version}
  pipe   {pipe}   services register here
  api    {api}   gRPC and REST, dashboard at {scheme}://{docs}/, pages about the calls at {scheme}://{docs}/docs
  proxy  {proxy}   HTTP requests come in here{proxy_tls}
  store  {store}   {sessions} sessions, {routes} routes",
            docs = reachable(*api),
        );
        if *sessions > 0 { addresses } else { format!("{addresses}\n\n{}", self.tutorial()) }
    }

    fn tutorial(&self) -> String {
        let (pipe, proxy) = (reachable(self.pipe), reachable(self.proxy));
        let client = if self.pipe_has_tls {
            format!("openssl s_client -quiet -connect {pipe}")
        } else {
            format!("nc {} {}", pipe.ip(), pipe.port())
        };
        let metadata = if self.needs_token { r#"{"token":"YOUR_TOKEN"}"# } else { "{}" };
        format!(
            "Nothing is registered yet. Try it: serve something with `python3 -m http.server 3000`, then type into `{client}`:
  REGISTER|shop|shop-1|9001|{metadata}
  ROUTE_ADD|SESSION_ID_FROM_THE_ACK|shop.example|/|http://127.0.0.1:3000|0
  CONFIG_APPLY|SESSION_ID_FROM_THE_ACK
and ask for it with `curl -H 'Host: shop.example' http://{proxy}/`"
        )
    }
}

/// Returns an address that this machine can connect to. A port on all addresses is reached over loopback.
pub(super) fn reachable(bound: SocketAddr) -> SocketAddr {
    let address = match bound.ip() {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    SocketAddr::new(address, bound.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(address: &str) -> Announcement<'static> {
        let at = |port: u16| SocketAddr::new(address.parse().unwrap(), port);
        Announcement {
            pipe: at(8181),
            api: at(8182),
            proxy: at(8080),
            proxy_tls: None,
            store: "sqlite://signalbox.db",
            sessions: 0,
            routes: 0,
            pipe_has_tls: false,
            api_has_tls: false,
            needs_token: false,
        }
    }

    #[test]
    fn the_tutorial_is_shown_while_nothing_is_registered() {
        let page = new("127.0.0.1").page();
        assert!(
            page.contains("type into `nc 127.0.0.1 8181`") && page.contains("REGISTER|shop|shop-1|9001|{}"),
            "{page}"
        );
        let known = Announcement { sessions: 1, ..new("127.0.0.1") }.page();
        assert!(known.ends_with("1 sessions, 0 routes"), "{known}");
    }

    #[test]
    fn its_addresses_can_be_used_wherever_the_ports_are_open() {
        let everywhere = new("0.0.0.0").page();
        for shown in
            ["pipe   0.0.0.0:8181", "nc 127.0.0.1 8181", "http://127.0.0.1:8080/", "http://127.0.0.1:8182/docs"]
        {
            assert!(everywhere.contains(shown), "{everywhere}");
        }
        let six = new("::").page();
        assert!(six.contains("nc ::1 8181") && six.contains("http://[::1]:8080/"), "{six}");
    }

    #[test]
    fn it_says_what_tls_and_tokens_need() {
        let strict =
            Announcement { pipe_has_tls: true, api_has_tls: true, needs_token: true, ..new("127.0.0.1") }.page();
        for shown in [
            "openssl s_client -quiet -connect 127.0.0.1:8181",
            r#"{"token":"YOUR_TOKEN"}"#,
            "https://127.0.0.1:8182/docs",
        ] {
            assert!(strict.contains(shown), "{strict}");
        }
    }
}
