//! Reads the host, path and method of a request to explain.
//!
//! It knows no route. Invariant: a host or path that the proxy would refuse is refused here.

use std::borrow::Cow;

use crate::domain::{AboveRoot, Error, Host, RequestPath};

/// The largest number of bytes of a path.
const PATH_BYTES_MAX: usize = 8 * 1024;

/// Returns the host without its port, in the spelling of routes.
pub(super) fn request_host(field: &str) -> Result<String, Error> {
    let (name, port) = match field.rsplit_once(':') {
        Some((name, port)) if !field.ends_with(']') => (name, port),
        _ => (field, ""),
    };
    let wrong = || Error::invalid("host", "must be a host name or address, with or without a port");
    if port.len() > 5 || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    match Host::parse(name) {
        Ok(Host::Exact(name)) => Ok(name.to_string()),
        Ok(Host::Below(_) | Host::Any) | Err(_) => Err(wrong()),
    }
}

/// Returns the path in the form that is matched.
pub(super) fn request_path(text: &str) -> Result<Cow<'_, str>, Error> {
    let path = text.split(['?', '#']).next().unwrap_or_default();
    let visible = path.bytes().all(|byte| byte.is_ascii_graphic());
    if path.starts_with('/') && visible && path.len() <= PATH_BYTES_MAX {
        let read = RequestPath::read(path);
        return read
            .map(|read| read.matched)
            .map_err(|AboveRoot| Error::invalid("path", "leads above /: such a request gets 400"));
    }
    Err(Error::invalid("path", "must begin with / and be as it stands in a request, others than ASCII percent-encoded"))
}

/// Checks that a method is one (RFC 9110 §9.1).
pub(super) fn check_method(method: Option<&str>) -> Result<(), Error> {
    let token = |method: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        !method.is_empty() && method.len() <= 32 && method.bytes().all(known)
    };
    if method.is_none_or(token) { Ok(()) } else { Err(Error::invalid("method", "is not an HTTP method; write GET")) }
}
