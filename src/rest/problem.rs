//! Refusals of requests as `application/problem+json` (RFC 9457).
//!
//! The kind of a refusal decides its status, in one exhaustive match. Errors of HTTP itself have statuses of their own.
//! Invariants: every refusal has this form; no problem contains a session id or an internal cause.

use std::fmt::Display;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{Error, Kind};
use crate::memory_budget::MemoryFull;
use crate::operator_auth::Denied;

/// The media type of every refusal.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";
/// The number of seconds after which a retry may be below a limit.
const LIMITED_RETRY_SECS: u16 = 30;
/// The number of seconds after which the registry may be available again.
const UNAVAILABLE_RETRY_SECS: u16 = 5;

/// The message for a session that does not exist or has ended.
const NO_SESSION: &str = "invalid session: it has ended or never was; register with POST /v1/sessions";

/// The refusal of a request (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`: `status` and `kind` identify the problem.
    #[schema(example = "about:blank")]
    r#type: &'static str,
    /// The name of the status.
    title: &'static str,
    /// The status of the response.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// The reason in words, for people.
    detail: String,
    /// The kind of refusal, for programs.
    kind: Reason,
    /// The field, parameter or place in the body that is wrong, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    field: Option<String>,
}

/// The kinds of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The request is invalid.
    Invalid,
    /// The bearer token is missing, or belongs to no session or operator.
    Unauthenticated,
    /// The caller may not do this.
    Denied,
    /// A thing that the request names does not exist.
    NotFound,
    /// The path exists, but not for this method.
    MethodNotAllowed,
    /// The thing to be created exists already.
    AlreadyExists,
    /// Another service holds what the request asks for.
    Conflict,
    /// The request is valid, but the present state does not allow it.
    Refused,
    /// The session has ended; register again.
    Gone,
    /// The state has changed since the caller read it.
    Stale,
    /// The body is too large.
    TooLarge,
    /// The body did not arrive in time.
    TimedOut,
    /// The content type of the body is not JSON.
    UnsupportedMediaType,
    /// A limit is reached.
    Limited,
    /// The server cannot do this now; a retry may succeed.
    Unavailable,
    /// An error inside the server.
    Internal,
}

impl Problem {
    fn new(status: StatusCode, kind: Reason, detail: impl Into<String>) -> Self {
        // Every status used here has a name.
        let title = status.canonical_reason().unwrap_or("Error");
        Self { r#type: "about:blank", title, status: status.as_u16(), detail: detail.into(), kind, field: None }
    }

    /// Returns an example for the description of a response with this status; `words` explain the status.
    pub(super) fn example(status: &str, words: &str) -> Option<Self> {
        let kind = match status {
            "400" => return Some(Self::wrong("requests", &"must be a whole number from 1 to 1000000")),
            "401" => Reason::Unauthenticated,
            "403" => Reason::Denied,
            "404" => Reason::NotFound,
            "408" => Reason::TimedOut,
            "409" => Reason::Refused,
            "410" => Reason::Gone,
            "412" => Reason::Stale,
            "413" => Reason::TooLarge,
            "415" => Reason::UnsupportedMediaType,
            "429" => Reason::Limited,
            "500" => Reason::Internal,
            "503" => Reason::Unavailable,
            _ => return None,
        };
        Some(Self::new(StatusCode::from_bytes(status.as_bytes()).ok()?, kind, words))
    }

    /// Creates the problem of a server whose parts do not all work, with the reasons.
    pub(super) fn not_ready(reasons: &[String]) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Reason::Unavailable, reasons.join("; "))
    }

    /// The request is invalid.
    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Reason::Invalid, detail)
    }

    /// Creates the problem of a wrong value in `field`, which is empty if unknown; `words` say what is allowed.
    pub(super) fn wrong(field: &str, words: &dyn Display) -> Self {
        match field {
            "" | "." => Self::invalid(words.to_string()),
            _ => Self { field: Some(field.to_owned()), ..Self::invalid(format!("{field}: {words}")) },
        }
    }

    /// Creates the problem of missing or wrong credentials.
    pub(super) fn unauthenticated(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, Reason::Unauthenticated, detail)
    }

    /// Creates the problem of an unknown path.
    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, Reason::NotFound, "there is nothing under this path; see /docs")
    }

    /// Creates the problem of a wrong method; `allowed` are the methods as in the header field `Allow`.
    pub(super) fn no_such_method(allowed: &str) -> Self {
        let detail = format!("this path does not take this method; it takes {}", allowed.replace(',', ", "));
        Self::new(StatusCode::METHOD_NOT_ALLOWED, Reason::MethodNotAllowed, detail)
    }

    /// Creates the problem of a session that has ended and cannot be reconnected.
    pub(super) fn gone() -> Self {
        let detail = "the session has ended; register anew with POST /v1/sessions";
        Self::new(StatusCode::GONE, Reason::Gone, detail)
    }

    /// Creates the problem of a body of more than `limit` bytes.
    pub(super) fn too_large(limit: usize) -> Self {
        let detail = format!("the body is too large (limit {limit} bytes)");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, Reason::TooLarge, detail)
    }

    /// Creates the problem of a body that did not arrive within `limit`.
    pub(super) fn too_slow(limit: Duration) -> Self {
        let detail = format!("the body did not come within {} s", limit.as_secs());
        Self::new(StatusCode::REQUEST_TIMEOUT, Reason::TimedOut, detail)
    }

    /// Creates the problem of a body whose content type is missing or not JSON.
    pub(super) fn not_json() -> Self {
        let detail = "the body must be JSON, and Content-Type say application/json";
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Reason::UnsupportedMediaType, detail)
    }

    /// Creates the problem of an internal error. Its cause goes to the log.
    pub(super) fn fault() -> Self {
        let detail = "a fault of the server's own; its log knows more";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, Reason::Internal, detail)
    }

    /// Creates the problem of a body for which the memory budget has no room.
    pub(super) fn no_memory() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Reason::Unavailable, MemoryFull.to_string())
    }

    /// Creates the problem of a thing that cannot be done now.
    pub(super) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Reason::Unavailable, detail)
    }

    /// Creates the problem of a server that is stopping.
    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Reason::Unavailable, "the server is stopping")
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (status, kind) = match error.kind() {
            // The message names the call of this interface.
            Kind::InvalidSession => return Self::unauthenticated(NO_SESSION),
            Kind::ReplacedSession => (StatusCode::UNAUTHORIZED, Reason::Unauthenticated),
            Kind::Invalid => (StatusCode::BAD_REQUEST, Reason::Invalid),
            Kind::NotFound => (StatusCode::NOT_FOUND, Reason::NotFound),
            Kind::AlreadyExists => (StatusCode::CONFLICT, Reason::AlreadyExists),
            Kind::Conflict => (StatusCode::CONFLICT, Reason::Conflict),
            Kind::Stale => (StatusCode::PRECONDITION_FAILED, Reason::Stale),
            Kind::Denied => (StatusCode::FORBIDDEN, Reason::Denied),
            Kind::Refused => (StatusCode::CONFLICT, Reason::Refused),
            Kind::Limited => (StatusCode::TOO_MANY_REQUESTS, Reason::Limited),
            Kind::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, Reason::Unavailable),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, Reason::Internal),
        };
        Self { field: error.field().map(str::to_owned), ..Self::new(status, kind, error.to_string()) }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Malformed(words) => Self::invalid(words),
            Denied::Unauthenticated(words) => Self::unauthenticated(words),
            Denied::Forbidden(words) => Self::new(StatusCode::FORBIDDEN, Reason::Denied, words),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Text and numbers always have a JSON form.
        let json = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(json));
        // The number is always a valid status.
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.extensions_mut().insert(self.kind);
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        match self.kind {
            Reason::Unauthenticated => {
                fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Reason::Limited => {
                fields.insert(RETRY_AFTER, LIMITED_RETRY_SECS.into());
            }
            Reason::Unavailable => {
                fields.insert(RETRY_AFTER, UNAVAILABLE_RETRY_SECS.into());
            }
            _ => {}
        }
        response
    }
}
