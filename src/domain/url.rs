//! URLs of backends and of pages that are fetched for maintenance.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::path::check_path;
use super::{Error, HealthPath};

const NO_SCHEME: &str = "must begin with http://, https://, h2c://, ws:// or wss://";

/// The protocol that a backend speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// HTTP/1.1 over TCP; `ws` is the same.
    Http,
    /// HTTP/2 or HTTP/1.1 over TLS, as the backend chooses (ALPN); `wss` is the same.
    Https,
    /// HTTP/2 over TCP, without a question beforehand (RFC 9113 §3.3).
    H2c,
}

impl Scheme {
    fn parse(text: &str, field: &'static str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "http" | "ws" => Ok(Scheme::Http),
            "https" | "wss" => Ok(Scheme::Https),
            "h2c" => Ok(Scheme::H2c),
            _ => Err(Error::invalid(field, NO_SCHEME)),
        }
    }

    /// Returns the port of a URL without one.
    pub const fn default_port(self) -> u16 {
        match self {
            Scheme::Http | Scheme::H2c => 80,
            Scheme::Https => 443,
        }
    }
}

/// A backend: scheme, host, port, and a base path that is put before the request's path.
///
/// Two URLs with the same meaning compare equal: `http://b:3000/` and `http://b:3000`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendUrl {
    text: Arc<str>,
    scheme: Scheme,
    host: Arc<str>,
    port: u16,
    authority: Arc<str>,
    base: Arc<str>,
}

impl BackendUrl {
    /// The maximum number of bytes of a URL.
    pub const BYTES_MAX: usize = 2048;

    /// Reads `scheme://host[:port][/base]`.
    ///
    /// # Errors
    /// `Invalid` for another scheme, user info, a query, a fragment, or an impossible host or path.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::invalid("backend_url", why.to_owned());
        if text.len() > Self::BYTES_MAX {
            return Err(wrong("at most 2048 bytes"));
        }
        if text.contains(['?', '#', '@']) {
            return Err(wrong("no query, fragment or user info; write http://host:port/base"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| wrong(NO_SCHEME))?;
        let scheme_known = Scheme::parse(scheme, "backend_url")?;
        let (authority, base) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = host_and_port(authority, scheme_known)?;
        let base = if base.is_empty() { "/" } else { base };
        check_path(base).map_err(|error| error.about("backend_url"))?;
        let base = base.trim_end_matches('/');
        let authority = match authority.rsplit_once(':') {
            Some((_, digits)) if !digits.ends_with(']') => format!("{host}:{port}"),
            _ => host.clone(),
        };
        Ok(Self {
            text: format!("{}://{authority}{base}", scheme.to_ascii_lowercase()).into(),
            scheme: scheme_known,
            host: host.into(),
            port,
            authority: authority.into(),
            base: base.into(),
        })
    }

    /// Returns the normalised URL, without a final `/`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Returns the host: a name, an IPv4 address or `[IPv6]`.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the address if the host is an address and needs no lookup.
    pub fn address(&self) -> Option<IpAddr> {
        super::host::literal(&self.host)
    }

    /// Returns the port: the given one, or the scheme's default.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the `Host` that stands for the backend's own name. It has a port only if the URL has one.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Returns the path that is put before the request's path: empty, or `/base` without a final `/`.
    pub fn base(&self) -> &str {
        &self.base
    }
}

impl fmt::Display for BackendUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

fn host_and_port(authority: &str, scheme: Scheme) -> Result<(String, u16), Error> {
    let wrong = |why: &str| Error::invalid("backend_url", why.to_owned());
    let split = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if split.0.is_empty() {
        return Err(wrong("has no host"));
    }
    let host = super::host::host(split.0).map_err(|_| wrong("its host is no host name or address"))?;
    let port = match split.1 {
        None => scheme.default_port(),
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok().filter(|port| *port > 0).ok_or_else(|| wrong("its port must be 1 to 65535"))?
        }
        Some(_) => return Err(wrong("its port must be 1 to 65535")),
    };
    Ok((host, port))
}

/// A page to fetch: a backend, a path and an optional query.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageUrl {
    text: Arc<str>,
    origin: BackendUrl,
    target: Arc<str>,
    // The service whose health is asked for in place of a page.
    grpc_service: Option<Arc<str>>,
}

impl PageUrl {
    /// Reads `http://host[:port][/path][?query]`.
    ///
    /// # Errors
    /// `Invalid` as for [`BackendUrl::parse`], except for the query.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::invalid("page_url", why.to_owned());
        let begins = |scheme: &str| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
        // A page is fetched with plain HTTP requests, also if the URL has a scheme of `WebSocket`.
        if !["http://", "https://", "ws://", "wss://"].into_iter().any(begins) {
            return Err(wrong("must begin with http:// or https://"));
        }
        let after_scheme = text.find("://").map_or(0, |at| at + 3);
        let end = text[after_scheme..].find(['/', '?']).map_or(text.len(), |at| after_scheme + at);
        let (origin, target) = text.split_at(end);
        let origin = BackendUrl::parse(origin).map_err(|error| error.about("page_url"))?;
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        if text.len() > BackendUrl::BYTES_MAX || target.contains('#') {
            return Err(wrong("at most 2048 bytes, without a fragment"));
        }
        let target = http::uri::PathAndQuery::try_from(target)
            .map_err(|_| wrong("only the characters of a URL, others percent-encoded"))?;
        Ok(Self {
            text: format!("{origin}{target}").into(),
            origin,
            target: target.as_str().into(),
            grpc_service: None,
        })
    }

    /// Returns the page of a backend's health checks and tests, below the backend's base path.
    pub fn of_backend(backend: &BackendUrl, path: &HealthPath) -> Self {
        let grpc_service = path.grpc_service().map(Arc::from);
        let slash = if grpc_service.is_some() { "/" } else { "" };
        let target = if grpc_service.is_some() { "/".to_owned() } else { format!("{}{path}", backend.base()) };
        let text = format!("{backend}{slash}{path}");
        Self { text: text.into(), origin: backend.clone(), target: target.into(), grpc_service }
    }

    /// Returns the service whose health a call of `grpc.health.v1` asks for in place of a page; empty for the whole server.
    pub fn grpc_service(&self) -> Option<&str> {
        self.grpc_service.as_deref()
    }

    /// Returns the whole URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the backend to connect to. Its base path is already part of [`PageUrl::target`].
    pub fn origin(&self) -> &BackendUrl {
        &self.origin
    }

    /// Returns the path and query in origin form (RFC 9112 §3.2.1).
    pub fn target(&self) -> &str {
        &self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_url_has_one_spelling() {
        let spelled = |text| BackendUrl::parse(text).unwrap().as_str().to_owned();
        assert_eq!(spelled("http://b:3000/"), "http://b:3000");
        assert_eq!(spelled("HTTP://B.Example/app/"), "http://b.example/app");
        assert_eq!(spelled("ws://[::1]:9/x"), "ws://[::1]:9/x");
        assert_eq!(spelled("http://[::1]"), "http://[::1]");
        assert_eq!(spelled("HTTPS://b:443/"), "https://b:443");
    }

    #[test]
    fn a_backend_url_comes_apart_into_what_a_request_needs() {
        let url = BackendUrl::parse("http://10.0.0.7:8080/app/").unwrap();
        assert_eq!((url.host(), url.port(), url.base()), ("10.0.0.7", 8080, "/app"));
        assert_eq!(url.address(), Some("10.0.0.7".parse().unwrap()));
        let url = BackendUrl::parse("ws://b").unwrap();
        assert_eq!((url.authority(), url.port(), url.base(), url.address()), ("b", 80, "", None));
        let of = |text| BackendUrl::parse(text).map(|url| (url.scheme(), url.port())).unwrap();
        assert_eq!([of("https://b"), of("wss://b/x")], [(Scheme::Https, 443); 2]);
        assert_eq!(of("wss://b:8443"), (Scheme::Https, 8443));
        assert_eq!([of("h2c://b"), of("H2C://b/x")], [(Scheme::H2c, 80); 2]);
    }

    #[test]
    fn a_wrong_backend_url_is_refused() {
        for bad in [
            "",
            "b:3000",
            "http://",
            "http://:80",
            "http://b:0",
            "http://b:65536",
            "http://b:x",
            "http://b:",
            "http://u@b",
            "http://b?x",
            "http://b/#x",
            "ftp://b",
            "http://b /",
            "http://b/a b",
            "http://::1",
            "http://[::1",
            "https://",
            "wss://u@b",
            "h2://b",
            "http://b/../x",
            "http:///x",
        ] {
            assert!(BackendUrl::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_url_may_have_a_query() {
        let page = PageUrl::parse("http://pages:8000/down.html?lang=de").unwrap();
        assert_eq!((page.origin().as_str(), page.target()), ("http://pages:8000", "/down.html?lang=de"));
        assert_eq!(PageUrl::parse("http://pages?x").unwrap().target(), "/?x");
        assert_eq!(PageUrl::parse("http://pages").unwrap().as_str(), "http://pages/");
        assert_eq!(PageUrl::parse("https://pages/x").unwrap().origin().port(), 443);
        for bad in ["", "x", "http://", "http://a/b c", "http://a/#b", "ftp://a"] {
            assert!(PageUrl::parse(bad).is_err(), "{bad}");
        }
    }
}
