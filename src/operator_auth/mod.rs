//! Authorisation of requests to the API port: the hosts that they may name, and the operators.
//!
//! A web page can reach this port under a name of its own (DNS rebinding), and another program on this machine can
//! forward requests for others. Therefore a request for another host is refused while nothing else protects the port
//! ([`AllowedHosts`]), and without operator tokens only a direct caller on loopback is an operator
//! ([`OperatorAuth`]). The module reads heads of requests and knows nothing of their content.

mod host;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use http::header::{AUTHORIZATION, HOST, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version};

use crate::domain::{Fingerprint, Host, OperatorName, Secret};
use crate::sockets::OncePerSecond;

use host::NamedHost;

/// The two addresses of a connection to the API port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallerAddresses {
    /// The caller's address.
    pub address: SocketAddr,
    /// This server's address.
    pub local: SocketAddr,
    /// The client's address, as trusted proxies tell it; else the caller's.
    pub client: IpAddr,
}

/// The parts of a request that authorisation depends on.
#[derive(Clone, Copy, Debug)]
pub struct ApiRequest<'a> {
    peer: Option<CallerAddresses>,
    version: Version,
    uri: &'a Uri,
    headers: &'a HeaderMap,
}

impl<'a> ApiRequest<'a> {
    /// Reads a request. Its extensions should contain the [`CallerAddresses`].
    pub fn of<B>(request: &'a Request<B>) -> Self {
        let peer = request.extensions().get().copied();
        Self { peer, version: request.version(), uri: request.uri(), headers: request.headers() }
    }

    /// Reads the parts of a request.
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

    /// Returns true if another program forwarded the request.
    fn came_through_a_proxy(&self) -> bool {
        self.headers.keys().any(tells_of_a_proxy) || self.headers.get(USER_AGENT).is_some_and(is_signalbox)
    }
}

/// The fields in which proxies name their clients or themselves, besides those with a prefix in [`PROXY_PREFIXES`].
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
    // Some programs write `_` for `-`.
    let name = name.as_str().replace('_', "-");
    PROXY_FIELDS.contains(&name.as_str()) || PROXY_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns true for the `User-Agent` of a Signalbox that checks a backend or fetches a page.
fn is_signalbox(agent: &HeaderValue) -> bool {
    agent.as_bytes().eq_ignore_ascii_case(b"signalbox")
}

/// Returns the token of `authorization: Bearer TOKEN` (RFC 6750 §2.1; the scheme in any case, RFC 9110 §11.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION).map(HeaderValue::to_str)?.ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The reason why a request is refused.
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
    /// Returns the message, which says what to change.
    pub fn words(self) -> &'static str {
        match self {
            Denied::Malformed(words) | Denied::Unauthenticated(words) | Denied::Forbidden(words) => words,
        }
    }
}

/// Recognises operators: callers with an operator token or, while there is no token, direct callers on loopback.
#[derive(Clone, Debug, Default)]
pub struct OperatorAuth {
    tokens: Arc<ArcSwap<Vec<(OperatorName, Fingerprint)>>>,
    refusals: Arc<OperatorRefusals>,
}

/// The count of refused calls, for the log.
#[derive(Debug, Default)]
struct OperatorRefusals {
    warnings: OncePerSecond,
    refused: AtomicU64,
}

/// The token of an operator, with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedToken {
    /// The name.
    pub name: OperatorName,
    /// The token.
    pub secret: Secret,
}

impl OperatorAuth {
    /// Accepts these tokens. Without any, callers on loopback are operators.
    pub fn new<'a>(tokens: impl IntoIterator<Item = &'a NamedToken>) -> Self {
        let auth = Self::default();
        auth.set_tokens(tokens);
        auth
    }

    /// Accepts these tokens in place of those before, from the next request on. Clones share them.
    pub fn set_tokens<'a>(&self, tokens: impl IntoIterator<Item = &'a NamedToken>) {
        let known = |token: &NamedToken| (token.name.clone(), Fingerprint::of(&token.secret));
        self.tokens.store(Arc::new(tokens.into_iter().map(known).collect()));
    }

    /// Checks that a request comes from an operator, and returns the operator's name. `shown` is the token of the request.
    ///
    /// # Errors
    /// The reason why the caller is no operator.
    pub fn check(&self, call: &ApiRequest<'_>, shown: Option<&str>) -> Result<OperatorName, Denied> {
        self.operator(call, shown).inspect_err(|denied| self.refusals.note(call, *denied))
    }

    fn operator(&self, call: &ApiRequest<'_>, shown: Option<&str>) -> Result<OperatorName, Denied> {
        if self.tokens.load().is_empty() {
            return check_direct(call).map(|()| OperatorName::loopback());
        }
        let shown = shown.ok_or(Denied::Unauthenticated("an operator token is needed: Authorization: Bearer TOKEN"))?;
        self.named(shown).ok_or(Denied::Unauthenticated("the operator token is not known here"))
    }

    /// Returns the name of the operator with this token, for calls that others may make too; `None` if it is another token.
    pub fn named(&self, shown: &str) -> Option<OperatorName> {
        let shown = Fingerprint::of(&Secret::new(shown));
        // All tokens are compared, so that the time does not depend on the matching one.
        let tokens = self.tokens.load();
        let found = tokens.iter().fold(None, |found, token| if token.1.is(&shown) { Some(&token.0) } else { found });
        found.cloned()
    }
}

impl OperatorRefusals {
    /// Counts a refused call. Logs the number and the last address, once a second at most, because a guesser tries many
    /// tokens.
    fn note(&self, call: &ApiRequest<'_>, denied: Denied) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        if self.warnings.passes() {
            let refused = self.refused.swap(0, Ordering::Relaxed);
            let address = call.peer.map(|peer| tracing::field::display(peer.client));
            tracing::warn!(address, refused, "operators' calls were refused: {}", denied.words());
        }
    }
}

/// Accepts a caller on loopback, but no forwarded request and no web page (DNS rebinding).
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

/// The hosts that requests to the API port may name.
///
/// While neither TLS nor registration tokens protect the port, these are `localhost`, loopback addresses and the
/// listed hosts. Over connections that are not on loopback they are all addresses too. With TLS or tokens every host
/// is allowed: the certificate does not fit a stranger's name, and a web page has no token.
#[derive(Clone, Debug, Default)]
pub struct AllowedHosts {
    protected: bool,
    listed: Vec<Host>,
    operators: Arc<OperatorAuth>,
}

impl AllowedHosts {
    /// Creates the allowed hosts of a port. `protected` is true if TLS or registration tokens protect it; else
    /// `listed` hosts are allowed besides its own. A caller with a token of `operators` may name any host.
    pub fn new(protected: bool, listed: Vec<Host>, operators: Arc<OperatorAuth>) -> Self {
        Self { protected, listed, operators }
    }

    /// Checks the hosts that a request names. Health probes may name any host: their response tells only that the
    /// server runs.
    ///
    /// # Errors
    /// If the request names another host, or none although HTTP requires one.
    pub fn check(&self, call: &ApiRequest<'_>) -> Result<(), Denied> {
        let hosts = call.hosts()?;
        let own = |host: &NamedHost<'_>| self.is_own(host, call.peer);
        if self.protected || is_probe(call.uri.path()) || (!hosts.is_empty() && hosts.iter().all(own)) {
            return Ok(());
        }
        if bearer(call.headers).is_some_and(|shown| self.operators.named(shown).is_some()) {
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
            // No name leads to an address, so no web page can be served under it. With translated addresses the
            // server cannot know which one is its own.
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
