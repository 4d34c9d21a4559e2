//! The redirect of requests over http to https, for routes that want it.
//!
//! It says the host that the client asked for, and the public port of https. Invariants: a request that came over TLS, also over
//! that of a trusted proxy, is not redirected.

use http::header::{HOST, HeaderValue};
use http::{Request, uri::PathAndQuery};

use crate::proxy::refusal::Refusal;
use crate::proxy::request::admission::ResponseExtras;
use crate::proxy::settings::ProxySettings;
use crate::traffic::{Peer, Pool, is_secure};

/// Redirects a request if the oldest member of its pool has the option `https_redirect`.
///
/// # Errors
/// [`Refusal::Redirected`], with the new target in `extras`.
pub(crate) fn to_https<B>(
    settings: &ProxySettings,
    peer: &Peer,
    request: &Request<B>,
    pool: &Pool,
    extras: &mut ResponseExtras,
) -> Result<(), Refusal> {
    let redirects = pool.members().first().is_some_and(|oldest| oldest.options().https_redirect);
    if !redirects || is_secure(request.headers(), peer) {
        return Ok(());
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    // Without a host, as HTTP/1.0 allows, there is nowhere to lead.
    extras.location = location(host, settings.https_port, target).filter(|_| !host.is_empty());
    if extras.location.is_some() { Err(Refusal::Redirected) } else { Err(Refusal::BadRequest) }
}

fn location(host: &str, port: Option<u16>, target: &str) -> Option<HeaderValue> {
    let name = match host.rfind(':') {
        Some(at) if !host.ends_with(']') => host.get(..at)?,
        _ => host,
    };
    let target = if target.starts_with('/') { target } else { "/" };
    let location = match port {
        None | Some(443) => format!("https://{name}{target}"),
        Some(port) => format!("https://{name}:{port}{target}"),
    };
    HeaderValue::try_from(location).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_has_the_host_without_its_port_and_the_port_of_https() {
        for (host, port, target, expected) in [
            ("shop.example", None, "/a?b=c", "https://shop.example/a?b=c"),
            ("shop.example:80", Some(443), "/", "https://shop.example/"),
            ("shop.example:8080", Some(8443), "/a", "https://shop.example:8443/a"),
            ("[::1]", None, "/", "https://[::1]/"),
            ("[::1]:8080", Some(8443), "/", "https://[::1]:8443/"),
            ("shop.example", None, "*", "https://shop.example/"),
        ] {
            assert_eq!(location(host, port, target).unwrap(), expected);
        }
    }
}
