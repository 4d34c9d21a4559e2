//! The checks on a request before its route is looked up, and the normal form of its target.
//!
//! Invariants: a request that two readers could read in two ways goes to no backend (RFC 9112 §3.2, §6.1).

use std::borrow::Cow;

use http::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{Method, Request, Version};
use http_body::Body as _;

use crate::domain::{AboveRoot, RequestPath};
use crate::proxy::client::client_body::ClientBody;
use crate::proxy::client::conn_state::ConnState;
use crate::proxy::client::framing::BodyLength;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::expect::{self, Expectation};
use crate::traffic::{is_only_chunked, is_routing_loop, request_host};

/// Refuses a request that is for no backend or is ambiguous.
///
/// # Errors
/// The refusal.
pub(crate) fn check(request: &Request<ClientBody>, state: &ConnState) -> Result<(), Refusal> {
    let headers = request.headers();
    if [Method::CONNECT, Method::TRACE].contains(request.method()) {
        return Err(Refusal::Method);
    }
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Err(Refusal::BadRequest);
    }
    if headers.contains_key(TRANSFER_ENCODING) {
        // If the head was not kept, hyper closes the connection after the answer, as RFC 9112 §6.1 demands.
        if let Some(Some(_)) = state.field(request.method(), CONTENT_LENGTH.as_str()) {
            return Err(Refusal::BadRequest);
        }
        if !is_only_chunked(headers) {
            return Err(Refusal::UnknownCoding);
        }
    }
    if is_routing_loop(headers) {
        return Err(Refusal::Loop);
    }
    // HTTP/1.0 has no expectations: they are ignored.
    if request.version() == Version::HTTP_11 && expect::expectation(headers) == Expectation::Unknown {
        return Err(Refusal::Expectation);
    }
    Ok(())
}

/// Returns the way in which the request says where its body ends.
pub(crate) fn body_length(body: &ClientBody) -> BodyLength {
    match body.size_hint().exact() {
        _ if body.is_end_stream() => BodyLength::None,
        Some(bytes) => BodyLength::Known(bytes),
        None => BodyLength::Chunked,
    }
}

/// Makes a target that is a whole URL a path, and its host the host of the request (RFC 9112 §3.2.2).
///
/// # Errors
/// If the target is a host alone, which is only for `CONNECT`, or `*` without `OPTIONS` (§3.2.3, §3.2.4).
pub(crate) fn normalize_target(request: &mut Request<ClientBody>) -> Result<(), Refusal> {
    if request.uri().path() == "*" && request.method() != Method::OPTIONS {
        return Err(Refusal::BadRequest);
    }
    let Some(authority) = request.uri().authority() else { return Ok(()) };
    if request.uri().scheme().is_none() {
        return Err(Refusal::BadRequest);
    }
    let host = HeaderValue::try_from(authority.as_str()).map_err(|_| Refusal::BadRequest)?;
    let target = request.uri().path_and_query().cloned();
    request.headers_mut().insert(HOST, host);
    *request.uri_mut() = target.unwrap_or(PathAndQuery::from_static("/")).into();
    Ok(())
}

/// Removes dot segments from the path. Returns the path in the form that routes are matched with, if it differs.
///
/// # Errors
/// If the path leads above the root.
pub(crate) fn normalize_path(request: &mut Request<ClientBody>) -> Result<Option<String>, Refusal> {
    let uri = request.uri();
    let read = RequestPath::read(uri.path()).map_err(|AboveRoot| Refusal::BadRequest)?;
    let Cow::Owned(matched) = read.matched else { return Ok(None) };
    if let Some(path) = read.passed {
        let target = match uri.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        *request.uri_mut() = PathAndQuery::try_from(target).map_err(|_| Refusal::BadRequest)?.into();
    }
    Ok(Some(matched))
}

/// Returns the host that the request is for. It is empty if an HTTP/1.0 request names none.
///
/// # Errors
/// If the `Host` field is malformed.
pub(crate) fn host(request: &Request<ClientBody>) -> Result<Cow<'_, str>, Refusal> {
    let field = request.headers().get(HOST).map_or(Ok(""), HeaderValue::to_str);
    field.ok().and_then(request_host).ok_or(Refusal::BadRequest)
}
