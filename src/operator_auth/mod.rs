//! Access to the API port: which hosts a request may name, and who is an operator.
//!
//! A page in somebody's browser can be led to this port under a name of its own (DNS rebinding), and another program on
//! this machine may carry requests for others. So a host that is not this server's own is refused while nothing else
//! protects the port ([`AllowedHosts`]), and without operator tokens only a direct caller on loopback is an operator
//! ([`OperatorAuth`]). It reads heads of requests and knows nothing of what they ask.

mod host;

use std::net::SocketAddr;
use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version};

use crate::domain::{Fingerprint, Host, Secret};

use host::NamedHost;

/// The two ends of a connection to the API port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerAddresses {
    /// The caller's.
    pub address: SocketAddr,
    /// This server's.
    pub local: SocketAddr,
}

/// The parts of a request that access depends on.
#[derive(Clone, Copy, Debug)]
pub struct ApiRequest<'a> {
    peer: Option<CallerAddresses>,
    version: Version,
    uri: &'a Uri,
    headers: &'a HeaderMap,
}

impl<'a> ApiRequest<'a> {
    /// Reads a request. [`CallerAddresses`] among its extensions says where it came from.
    pub fn of<B>(request: &'a Request<B>) -> Self {
        let peer = request.extensions().get().copied();
        Self { peer, version: request.version(), uri: request.uri(), headers: request.headers() }
    }

    /// The same, of a request whose body is kept elsewhere.
    pub fn of_parts(parts: &'a Parts) -> Self {
        let peer = parts.extensions.get().copied();
        Self { peer, version: parts.version, uri: &parts.uri, headers: &parts.headers }
    }

    /// Returns the hosts that the request names: the authority of its target, and that of `Host`.
    ///
    /// # Errors
    /// If `Host` is missing from HTTP/1.1, comes twice, or one of the two is no host (RFC 9112 §3.2).
    fn hosts(&self) -> Result<Vec<NamedHost<'a>>, Denied> {
        let mut fields = self.headers.get_all(HOST).iter();
        let field = fields.next().map(HeaderValue::as_bytes);
        if fields.next().is_some() {
            return Err(Denied::Malformed("Host came twice; send it once"));
        }
        if field.is_none() && self.version == Version::HTTP_11 {
            return Err(Denied::Malformed("Host is missing; HTTP/1.1 requires it"));
        }
        let authority = self.uri.authority().map(|authority| authority.as_str().as_bytes());
        let parse = |named| NamedHost::parse(named).ok_or(Denied::Malformed("Host is not a host; send name:port"));
        authority.into_iter().chain(field).map(parse).collect()
    }

    /// Says whether another program carried the request here for somebody.
    fn came_through_a_proxy(&self) -> bool {
        self.headers.keys().any(tells_of_a_proxy) || self.headers.get(USER_AGENT).is_some_and(is_signalbox)
    }
}

/// The fields in which proxies name their clients or themselves, beside those that begin with one of [`PROXY_PREFIXES`].
const PROXY_FIELDS: [&str; 12] = [
    "via",
    "forwarded",
    "forwarded-for",
    "x-real-ip",
    "x-real-host",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-rewrite-url",
    "client-ip",
    "true-client-ip",
    "cdn-loop",
    "proxy-connection",
];
const PROXY_PREFIXES: [&str; 7] =
    ["x-forwarded", "x-original-", "x-envoy-", "x-proxy", "cf-", "signalbox-", "x-signalbox-"];

fn tells_of_a_proxy(name: &HeaderName) -> bool {
    // Some programs write one for the other.
    let name = name.as_str().replace('_', "-");
    PROXY_FIELDS.contains(&name.as_str()) || PROXY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Says whether a `User-Agent` is that of a Signalbox which checks a backend or fetches a page.
fn is_signalbox(agent: &HeaderValue) -> bool {
    agent.as_bytes().eq_ignore_ascii_case(b"signalbox")
}

/// Returns the token of `authorization: Bearer TOKEN` (RFC 6750 §2.1; the scheme in any case, RFC 9110 §11.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION).map(HeaderValue::to_str)?.ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Why a call is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The request itself is wrong.
    Malformed(&'static str),
    /// A token is missing or wrong.
    Unauthenticated(&'static str),
    /// No token would help.
    Forbidden(&'static str),
}

impl Denied {
    /// What to change.
    pub fn words(self) -> &'static str {
        match self {
            Denied::Malformed(words) | Denied::Unauthenticated(words) | Denied::Forbidden(words) => words,
        }
    }
}

/// The operators: callers that show an operator token, or, while there is none, direct callers on loopback.
#[derive(Clone, Debug, Default)]
pub struct OperatorAuth {
    tokens: Vec<Fingerprint>,
}

impl OperatorAuth {
    /// Those who show one of these tokens. With none, those on loopback.
    pub fn new<'a>(tokens: impl IntoIterator<Item = &'a Secret>) -> Self {
        Self { tokens: tokens.into_iter().map(Fingerprint::of).collect() }
    }

    /// Lets an operator's call through; `shown` is the token that came with it.
    ///
    /// # Errors
    /// Why the caller is no operator.
    pub fn check(&self, call: &ApiRequest<'_>, shown: Option<&str>) -> Result<(), Denied> {
        if self.tokens.is_empty() {
            return check_direct(call);
        }
        let shown = shown.ok_or(Denied::Unauthenticated("an operator token is needed: Authorization: Bearer TOKEN"))?;
        if self.knows(shown) {
            return Ok(());
        }
        Err(Denied::Unauthenticated("the operator token is not known here"))
    }

    fn knows(&self, shown: &str) -> bool {
        let shown = Fingerprint::of(&Secret::new(shown));
        // Every token is looked at, however early one fits.
        self.tokens.iter().fold(false, |known, token| token.is(&shown) | known)
    }
}

/// Lets a caller through who sits on this machine, speaks for nobody else, and was not led here under another name.
fn check_direct(call: &ApiRequest<'_>) -> Result<(), Denied> {
    // A caller without a known address counts as remote.
    if !call.peer.is_some_and(|peer| peer.address.ip().to_canonical().is_loopback()) {
        return Err(Denied::Forbidden(
            "without operator tokens, operators are answered on loopback only; set api.operator_tokens",
        ));
    }
    if call.came_through_a_proxy() {
        return Err(Denied::Forbidden(
            "without operator tokens, operators are answered only when they connect directly, and this request came \
             through a proxy; set api.operator_tokens",
        ));
    }
    let hosts = call.hosts()?;
    if !hosts.is_empty() && hosts.iter().all(NamedHost::is_loopback) {
        return Ok(());
    }
    Err(Denied::Forbidden(
        "without operator tokens, operators ask for localhost or a loopback address such as 127.0.0.1, not for another \
         host; set api.operator_tokens",
    ))
}

/// The hosts under which the API port may be asked.
///
/// While neither TLS nor registration tokens protect the port, these are loopback addresses and `localhost`, the hosts
/// that are listed, and addresses where the connection itself did not come over loopback. With TLS the certificate
/// holds no name of somebody else's, and a page that was led here has no token to register with: then every host is good.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts {
    protected: bool,
    listed: Vec<Host>,
    operators: Arc<OperatorAuth>,
}

impl AllowedHosts {
    /// The hosts of a port that TLS or registration tokens make `protected`, or else those `listed` beside its own.
    /// A caller who shows one of the tokens of `operators` may name any.
    pub fn new(protected: bool, listed: Vec<Host>, operators: Arc<OperatorAuth>) -> Self {
        Self { protected, listed, operators }
    }

    /// Lets a request through that names a host of this server. Probes may name any: their answer tells nothing but
    /// that the server runs, and they often come under a name of the prober's choice.
    ///
    /// # Errors
    /// If it names another host, or none as HTTP requires it.
    pub fn check(&self, call: &ApiRequest<'_>) -> Result<(), Denied> {
        let hosts = call.hosts()?;
        let own = |host: &NamedHost<'_>| self.is_own(host, call.peer);
        if self.protected || is_probe(call.uri.path()) || (!hosts.is_empty() && hosts.iter().all(own)) {
            return Ok(());
        }
        if bearer(call.headers).is_some_and(|shown| self.operators.knows(shown)) {
            return Ok(());
        }
        Err(Denied::Forbidden(
            "the request names a host that is not this server's (Host); ask for localhost or an address, add the name to \
             api.hosts, or protect the port with TLS (api.cert) or registration tokens",
        ))
    }

    fn is_own(&self, host: &NamedHost<'_>, peer: Option<CallerAddresses>) -> bool {
        match host {
            _ if host.is_loopback() || host.is_one_of(&self.listed) => true,
            // No name leads to it, so nobody can be led here by it. Which one it is cannot be told behind translated addresses.
            NamedHost::Address(address) => {
                !address.is_unspecified() && peer.is_some_and(|peer| !peer.local.ip().to_canonical().is_loopback())
            }
            NamedHost::Name(_) => false,
        }
    }
}

fn is_probe(path: &str) -> bool {
    matches!(path, "/healthz" | "/readyz") || path.starts_with("/grpc.health.v1.Health/")
}

#[cfg(test)]
mod tests;
