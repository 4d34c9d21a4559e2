//! Paths: the prefixes of routes and the targets of health checks.

use std::fmt;
use std::sync::Arc;

use super::Error;
use super::spelling::{normal, without_dots};

/// A prefix on whole segments: `/api` matches `/api` and `/api/x`, not `/apix`.
///
/// Kept in the spelling that requests are matched in ([`super::RequestPath`]) and without a final `/`, so that
/// `/api/` equals `/api`. The root is kept as `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(Arc<str>);

impl PathPrefix {
    /// The maximum number of bytes of a path.
    pub const BYTES_MAX: usize = 2048;

    /// Reads a path as it stands in a request: it begins with `/`, and only ASCII is not percent-encoded.
    ///
    /// # Errors
    /// `Invalid` for anything else, for a query, for `.` and `..` segments, and for a pattern such as `/api/*`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let path = Self::stored(text)?;
        let is_pattern = |segment: &str| !segment.is_empty() && segment.bytes().all(|byte| byte == b'*');
        if path.0.split('/').any(is_pattern) || path.0.ends_with('*') {
            let plain = path.0.split('*').next().unwrap_or_default().trim_end_matches('/');
            let plain = if plain.is_empty() { "/" } else { plain };
            return Err(Error::invalid("path", format!("a path is a prefix already; write {plain}")));
        }
        Ok(path)
    }

    /// Restores a stored path. Patterns are accepted because older versions accepted them.
    ///
    /// # Errors
    /// As [`Self::parse`], except for patterns.
    pub fn stored(text: &str) -> Result<Self, Error> {
        check_path(text)?;
        let normal = normal(text);
        let trimmed = normal.trim_end_matches('/');
        Ok(Self(if trimmed.is_empty() { "/" } else { trimmed }.into()))
    }

    /// Returns `/`, the prefix of every path.
    pub fn root() -> Self {
        Self("/".into())
    }

    /// Returns the prefix: `/`, or a path without a final `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns true if a request's path is this prefix or below it, on whole segments.
    pub fn covers(&self, path: &str) -> bool {
        let prefix = &*self.0;
        prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the number of segments; the root has none.
    pub fn segments(&self) -> usize {
        if &*self.0 == "/" { 0 } else { self.0.bytes().filter(|byte| *byte == b'/').count() }
    }
}

/// The path of a health check, with an optional query. Kept and sent exactly as it was written: `/health/` is not
/// `/health`. `grpc:` in its place, with the name of a service or without, stands for a call of `grpc.health.v1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HealthPath(Arc<str>);

/// The beginning of a check by `grpc.health.v1`.
const GRPC: &str = "grpc:";
const NO_SERVICE: &str = "after grpc: comes the name of a service, such as grpc:shop.Orders, or nothing";

impl HealthPath {
    /// Reads `/health`, `/health/`, `/health?full=1`, `grpc:` or `grpc:shop.Orders`.
    ///
    /// # Errors
    /// `Invalid` for a path as for [`PathPrefix::parse`] (except for patterns), for a fragment or spaces in the
    /// query, and for a service that has no such name.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > PathPrefix::BYTES_MAX {
            return Err(Error::invalid("path", "at most 2048 bytes"));
        }
        if let Some(service) = text.strip_prefix(GRPC) {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte);
            return if service.bytes().all(allowed) {
                Ok(Self(text.into()))
            } else {
                Err(Error::invalid("path", NO_SERVICE))
            };
        }
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        if !query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(Error::invalid(
                "path",
                "its query needs visible ASCII characters without #, others percent-encoded",
            ));
        }
        if path.contains('#') {
            return Err(Error::invalid("path", "has a fragment, which is never sent; leave out # and what follows"));
        }
        check_path(path)?;
        Ok(Self(text.into()))
    }

    /// Returns `/`.
    pub fn root() -> Self {
        Self("/".into())
    }

    /// Returns the service whose health a call of `grpc.health.v1` asks for; empty for the whole server. `None` for a path.
    pub fn grpc_service(&self) -> Option<&str> {
        self.0.strip_prefix(GRPC)
    }

    /// Returns the path and the query.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HealthPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Checks the syntax of a path.
pub(super) fn check_path(text: &str) -> Result<(), Error> {
    let wrong = |why: &str| Err(Error::invalid("path", why.to_owned()));
    if !text.starts_with('/') {
        return wrong("must begin with /");
    }
    if text.len() > PathPrefix::BYTES_MAX {
        return wrong("at most 2048 bytes");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&byte);
    if !text.bytes().all(allowed) {
        return wrong("only the characters of a URL path, others percent-encoded, without ? and #");
    }
    if without_dots(text) != Ok(None) {
        return wrong("no . or .. segments");
    }
    Ok(())
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_slash_makes_no_difference() {
        assert_eq!(PathPrefix::parse("/api/"), PathPrefix::parse("/api"));
        assert_eq!(PathPrefix::parse("/").unwrap().as_str(), "/");
        assert_eq!(PathPrefix::parse("//").unwrap().as_str(), "/");
    }

    #[test]
    fn spellings_of_one_path_are_one_prefix() {
        for (one, other) in [("/%6cogin", "/login"), ("/a//b", "/a/b"), ("/caf%c3%a9", "/caf%C3%A9"), ("/%7Eu", "/~u")]
        {
            assert_eq!(PathPrefix::parse(one), PathPrefix::parse(other), "{one}");
        }
        let once = PathPrefix::parse("/%%361/%zz").unwrap();
        assert_eq!(PathPrefix::stored(once.as_str()), Ok(once));
    }

    #[test]
    fn a_pattern_is_refused_with_the_words_to_write() {
        for (pattern, plain) in
            [("/api/*", "/api"), ("/*", "/"), ("/api/**", "/api"), ("/api*", "/api"), ("/a/*/b", "/a")]
        {
            let error = PathPrefix::parse(pattern).unwrap_err().to_string();
            assert!(error.ends_with(&format!("a path is a prefix already; write {plain}")), "{error}");
            assert!(PathPrefix::stored(pattern).is_ok());
        }
        assert!(PathPrefix::parse("/a*b").is_ok());
    }

    #[test]
    fn the_path_of_a_health_check_stays_as_it_was_written() {
        for text in ["/", "/health/", "/health?full=1", "/a//b", "/h?", "/h?a=1&b=[2]?/", "/%7Eu/%61", "/x*"] {
            assert_eq!(HealthPath::parse(text).unwrap().as_str(), text);
        }
        for (text, service) in [("grpc:", Some("")), ("grpc:shop.v1.Orders", Some("shop.v1.Orders")), ("/grpc:", None)]
        {
            assert_eq!(HealthPath::parse(text).unwrap().grpc_service(), service);
        }
        for bad in [
            "",
            "health",
            "grpc",
            "GRPC:",
            "grpc:a b",
            "grpc:a?b",
            "/a b",
            "/a#b",
            "/a?b#c",
            "/a?b c",
            "/a?\u{e4}",
            "/../a",
            "http://b/health",
        ] {
            assert!(HealthPath::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn segments_are_counted() {
        let segments = |text| PathPrefix::parse(text).unwrap().segments();
        assert_eq!((segments("/"), segments("/a"), segments("/a/b/")), (0, 1, 2));
    }

    #[test]
    fn a_wrong_path_is_refused() {
        for bad in [
            "",
            "api",
            "/a?b",
            "/a#b",
            "/a b",
            "/ä",
            "/a/../b",
            "/.",
            "/a/%2e%2E/b",
            "/a|b",
            &format!("/{}", "x".repeat(2048)),
        ] {
            assert!(PathPrefix::parse(bad).is_err(), "{bad}");
        }
    }
}
