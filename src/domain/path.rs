//! Path prefixes that routes are reached by.

use std::fmt;
use std::sync::Arc;

use super::Error;

/// A prefix on whole segments: `/api` matches `/api` and `/api/x`, not `/apix`.
///
/// Kept without a final `/`, so that `/api/` equals `/api`; the root is kept as `/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathPrefix(Arc<str>);

impl PathPrefix {
    /// The most bytes of a path.
    pub const BYTES_MAX: usize = 2048;

    /// Reads a path as it stands in a request: it begins with `/`, other than ASCII is percent-encoded.
    ///
    /// # Errors
    /// `Invalid` for anything else, for a query, and for `.` and `..` segments.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Err(Error::invalid("path", why.to_owned()));
        if !text.starts_with('/') {
            return wrong("must begin with /");
        }
        if text.len() > Self::BYTES_MAX {
            return wrong("at most 2048 bytes");
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@%".contains(&byte);
        if !text.bytes().all(allowed) {
            return wrong("only the characters of a URL path, others percent-encoded, without ? and #");
        }
        if text.split('/').any(|segment| segment == "." || segment == "..") {
            return wrong("no . or .. segments");
        }
        let trimmed = text.trim_end_matches('/');
        Ok(Self(if trimmed.is_empty() { "/" } else { trimmed }.into()))
    }

    /// `/`, which every path is below.
    pub fn root() -> Self {
        Self("/".into())
    }

    /// The prefix: `/`, or without a final `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a request's path is this prefix or below it, on whole segments.
    pub fn covers(&self, path: &str) -> bool {
        let prefix = &*self.0;
        prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// How many segments it has; the root has none.
    pub fn segments(&self) -> usize {
        if &*self.0 == "/" { 0 } else { self.0.bytes().filter(|byte| *byte == b'/').count() }
    }
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
    fn segments_are_counted() {
        let segments = |text| PathPrefix::parse(text).unwrap().segments();
        assert_eq!((segments("/"), segments("/a"), segments("/a/b/")), (0, 1, 2));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for bad in ["", "api", "/a?b", "/a#b", "/a b", "/ä", "/a/../b", "/.", "/a|b", &format!("/{}", "x".repeat(2048))]
        {
            assert!(PathPrefix::parse(bad).is_err(), "{bad}");
        }
    }
}
