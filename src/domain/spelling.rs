//! The spelling of paths for matching and for passing on.
//!
//! One resource has many spellings. A route with its limits and maintenance covers all of them. Invariants: no
//! path that is passed on has dot segments in any spelling, and the matched path is made from the path that is passed
//! on.

use std::borrow::Cow;

/// The path of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestPath<'a> {
    /// The path in the spelling of routes: without dot segments, repeated slashes and needless percent-encoding (RFC
    /// 3986 §6.2.2).
    pub matched: Cow<'a, str>,
    /// The path for the backend, without dot segments; `None` if the original path has none.
    pub passed: Option<String>,
}

/// The error of a path that leads above `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path leads above /")]
pub struct AboveRoot;

impl<'a> RequestPath<'a> {
    /// Reads the path of a request. A plain path is scanned once and not copied.
    ///
    /// # Errors
    /// [`AboveRoot`] if there are more `..` than segments before them.
    pub fn read(path: &'a str) -> Result<Self, AboveRoot> {
        if is_plain(path) {
            return Ok(Self { matched: Cow::Borrowed(path), passed: None });
        }
        let passed = without_dots(path)?;
        let matched = normal(passed.as_deref().unwrap_or(path));
        Ok(Self { matched: Cow::Owned(matched), passed })
    }
}

/// Returns the path behind its first `segments` segments: empty, or beginning with `/`. Repeated slashes count as
/// one.
pub fn path_behind(path: &str, segments: usize) -> &str {
    let mut rest = path;
    for _ in 0..segments {
        let segment = rest.trim_start_matches('/');
        rest = segment.split_at(segment.find('/').unwrap_or(segment.len())).1;
    }
    rest
}

/// Returns true if the path has no other spelling to consider.
fn is_plain(path: &str) -> bool {
    !path.contains('%') && !path.as_bytes().windows(2).any(|pair| matches!(pair, [b'/', b'/' | b'.']))
}

/// Returns the path without `.` and `..` segments (RFC 3986 §5.2.4), the rest unchanged; `None` if it has none.
pub(super) fn without_dots(path: &str) -> Result<Option<String>, AboveRoot> {
    let Some(segments) = path.strip_prefix('/') else { return Ok(None) };
    if segments.split('/').all(|segment| dots(segment) == 0) {
        return Ok(None);
    }
    let mut kept: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in segments.split('/') {
        ends_open = dots(segment) > 0;
        match dots(segment) {
            0 => kept.push(segment),
            1 => {}
            _ => {
                // Backends that merge repeated slashes see no segment between them.
                while kept.pop_if(|segment| segment.is_empty()).is_some() {}
                kept.pop().ok_or(AboveRoot)?;
            }
        }
    }
    let mut passed = String::with_capacity(path.len());
    for segment in &kept {
        passed.push('/');
        passed.push_str(segment);
    }
    if ends_open || kept.is_empty() {
        passed.push('/');
    }
    Ok(Some(passed))
}

/// Returns 1 for `.`, 2 for `..`, else 0. Dots may be percent-encoded and have parameters, such as `..;x`, which some
/// backends read as `..`.
fn dots(segment: &str) -> usize {
    let mut rest = segment.split(';').next().unwrap_or_default();
    let mut count = 0;
    while let Some(after) = [".", "%2e", "%2E"].iter().find_map(|dot| rest.strip_prefix(dot)) {
        rest = after;
        count += 1;
    }
    if rest.is_empty() && count <= 2 { count } else { 0 }
}

/// Returns the path in the compared spelling: single slashes, unreserved characters decoded, other escapes in upper
/// case.
pub(super) fn normal(path: &str) -> String {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.as_bytes();
    while let [first, rest @ ..] = bytes {
        bytes = rest;
        match escaped(*first, rest) {
            Some((byte, rest)) => {
                bytes = rest;
                if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                    out.push(byte);
                } else {
                    out.extend(format!("%{byte:02X}").bytes());
                }
            }
            None if *first == b'/' && out.ends_with(b"/") => {}
            // A `%` that begins no escape stands for itself.
            None if *first == b'%' => out.extend(b"%25"),
            None => out.push(*first),
        }
    }
    // Cannot fail: only ASCII was put in place of ASCII.
    String::from_utf8(out).unwrap_or_else(|_| path.to_owned())
}

/// Returns the byte that an escape stands for, and the bytes behind it.
fn escaped(first: u8, rest: &[u8]) -> Option<(u8, &[u8])> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    match (first, rest) {
        (b'%', [high, low, rest @ ..]) => Some((digit(*high)? << 4 | digit(*low)?, rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_matched_in_one_spelling_and_passed_on_as_it_came() {
        for (came, matched, passed) in [
            ("/login", "/login", None),
            ("//login", "/login", None),
            ("/%6cogin", "/login", None),
            ("/%6Cogin/%7euser", "/login/~user", None),
            ("/a//b///", "/a/b/", None),
            ("/a%2fb", "/a%2Fb", None),
            ("/caf%c3%a9", "/caf%C3%A9", None),
            ("/100%", "/100%25", None),
            ("/%zz%%361", "/%25zz%2561", None),
            ("/.well-known/x", "/.well-known/x", None),
            ("/x/../login", "/login", Some("/login")),
            ("/x/%2e%2E/%6cogin", "/login", Some("/%6cogin")),
            ("/x/.%2e/./login/.", "/login/", Some("/login/")),
            ("/x//../login", "/login", Some("/login")),
            ("/a//b/../c", "/a/c", Some("/a//c")),
            ("/x/..;p=1/login", "/login", Some("/login")),
            ("/a/..", "/", Some("/")),
            ("/a/b/..", "/a/", Some("/a/")),
            ("/a/...", "/a/...", None),
            ("/a..b/..c", "/a..b/..c", None),
            ("*", "*", None),
        ] {
            let read = RequestPath::read(came).unwrap();
            assert_eq!((&*read.matched, read.passed.as_deref()), (matched, passed), "{came}");
        }
    }

    #[test]
    fn a_path_above_the_root_is_refused() {
        for path in ["/..", "/a/../..", "//..", "/a//../../b", "/%2e%2e/b", "/./../b", "/..;/b"] {
            assert_eq!(RequestPath::read(path), Err(AboveRoot), "{path}");
        }
    }

    #[test]
    fn a_forwarded_path_reads_the_same_again() {
        for path in ["/x/../%6cogin//y", "/a//b/../c", "/%2e/a%2fb"] {
            let read = RequestPath::read(path).unwrap();
            let passed = read.passed.unwrap();
            let again = RequestPath::read(&passed).unwrap();
            assert_eq!((again.matched, again.passed), (read.matched, None), "{path}");
        }
    }

    #[test]
    fn segments_are_left_behind_in_whatever_spelling() {
        for (path, rest) in [("/api/x", "/x"), ("//api//x", "//x"), ("/api", ""), ("/%61pi/", "/")] {
            assert_eq!(path_behind(path, 1), rest, "{path}");
        }
    }
}
