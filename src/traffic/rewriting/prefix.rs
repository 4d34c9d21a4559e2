//! Responses of a backend that does not see the path prefix of its route: `strip_prefix` with `restore_prefix`.
//!
//! Invariants: only references to the route are rewritten; a path that has the prefix already stays as it is.

use http::header::{CONTENT_LOCATION, HeaderMap, HeaderValue, LOCATION, SET_COOKIE};

/// The names and paths under which the client and the proxy reach a backend.
#[derive(Clone, Copy, Debug)]
pub struct PrefixMapping<'a> {
    /// The prefix that the backend does not see.
    pub prefix: &'a str,
    /// The base path that the backend sees in its place; empty for none.
    pub base: &'a str,
    /// The backend's own name, with its port where it has one.
    pub authority: &'a str,
    /// The name that the client asked for.
    pub host: Option<&'a str>,
}

/// Puts the prefix back into `Location`, `Content-Location` and the paths of cookies.
pub fn restore_prefix(headers: &mut HeaderMap, stripped: PrefixMapping<'_>) {
    for (name, value) in headers.iter_mut() {
        let Ok(text) = value.to_str() else { continue };
        let restored = if *name == LOCATION || *name == CONTENT_LOCATION {
            stripped.location(text)
        } else if *name == SET_COOKIE {
            stripped.cookie(text)
        } else {
            None
        };
        if let Some(restored) = restored.and_then(|restored| HeaderValue::try_from(restored).ok()) {
            *value = restored;
        }
    }
}

impl PrefixMapping<'_> {
    /// Returns the URL under which the client reaches `location`; `None` if it does not lead to the backend.
    fn location(&self, location: &str) -> Option<String> {
        if location.starts_with('/') && !location.starts_with("//") {
            return self.path(location);
        }
        let after_scheme = location.strip_prefix("http://").or_else(|| location.strip_prefix("https://"))?;
        let (authority, path) = after_scheme.split_at(after_scheme.find(['/', '?', '#']).unwrap_or(after_scheme.len()));
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let restored = self.path(&path);
        if self.host.is_some_and(|host| host.eq_ignore_ascii_case(authority)) {
            let origin = location.strip_suffix(after_scheme)?;
            return restored.map(|path| format!("{origin}{authority}{path}"));
        }
        // Only the proxy knows the backend by its own name.
        self.authority.eq_ignore_ascii_case(authority).then(|| restored.unwrap_or(path))
    }

    fn cookie(&self, cookie: &str) -> Option<String> {
        let mut changed = false;
        let parts = cookie.split(';').enumerate().map(|(place, part)| {
            let path = part.split_once('=').filter(|(name, _)| place > 0 && name.trim().eq_ignore_ascii_case("path"));
            let restored = path.and_then(|(_, path)| self.path(path.trim()));
            changed |= restored.is_some();
            // The cookie path `/api` covers what is below it, `/api/` does not cover `/api`.
            restored.map_or_else(|| part.to_owned(), |path| format!(" Path={}", path.trim_end_matches('/')))
        });
        let cookie = parts.collect::<Vec<_>>().join(";");
        changed.then_some(cookie)
    }

    /// Returns the path with the prefix in place of the base; `None` where nothing changes.
    fn path(&self, path: &str) -> Option<String> {
        if !path.starts_with('/') || below(path, self.prefix).is_some() {
            return None;
        }
        Some(format!("{}{}", self.prefix, below(path, self.base).unwrap_or(path)))
    }
}

/// Returns the part of a path after a prefix of whole segments.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIPPED: PrefixMapping<'_> =
        PrefixMapping { prefix: "/api", base: "/app", authority: "10.0.0.7:3000", host: Some("shop.example") };

    #[test]
    fn locations_that_lead_to_the_backend_get_the_prefix_back() {
        for (said, restored) in [
            ("/login?x", Some("/api/login?x")),
            ("/app/login", Some("/api/login")),
            ("/app", Some("/api")),
            ("/api/login", None),
            ("/apis", Some("/api/apis")),
            ("//other.example/login", None),
            ("login", None),
            ("https://other.example/login", None),
            ("https://Shop.example/login", Some("https://Shop.example/api/login")),
            ("http://10.0.0.7:3000/app/login", Some("/api/login")),
            ("http://10.0.0.7:3000", Some("/api/")),
        ] {
            assert_eq!(STRIPPED.location(said).as_deref(), restored, "{said}");
        }
    }

    #[test]
    fn paths_of_cookies_get_the_prefix_back() {
        for (said, restored) in [
            ("a=1; Path=/; HttpOnly", Some("a=1; Path=/api; HttpOnly")),
            ("a=/; path=/x;Secure", Some("a=/; Path=/api/x;Secure")),
            ("path=/x", None),
            ("a=1; Path=/api/x", None),
            ("a=1", None),
        ] {
            assert_eq!(STRIPPED.cookie(said).as_deref(), restored, "{said}");
        }
    }
}
