//! The answers that the proxy makes itself: their reasons, statuses and sentences.

use std::borrow::Cow;

use http::StatusCode;

use crate::traffic::AttemptFailure;

/// A reason for the proxy to answer a request itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no room for another connection.
    TooManyConnections,
    /// There is no memory for the rest of the request.
    NoMemory,
    /// The client speaks plain HTTP to the port of HTTPS.
    PlainHttp,
    /// The message is malformed or can be read in two ways.
    BadRequest,
    /// The request has a transfer coding that the proxy does not pass on.
    UnknownCoding,
    /// The route does not allow a change of protocols.
    NoUpgrade,
    /// No route matches the request.
    Unmatched,
    /// The certificate of the connection is not for the host.
    Misdirected,
    /// The route is only for https.
    Redirected,
    /// The method is `CONNECT` or `TRACE`, which no backend gets.
    Method,
    /// The head has too many bytes or fields.
    HeadTooLarge,
    /// The `Expect` field names something other than `100-continue`.
    Expectation,
    /// The client stopped sending its body.
    ClientTooSlow,
    /// The body is larger than the route allows.
    TooLarge {
        /// The limit of the route, in bytes.
        max: u64,
    },
    /// No backend could be reached, or its response was malformed.
    BadGateway,
    /// This server has no file descriptors or ports left for a connection to a backend.
    NoRoom,
    /// The backend did not answer in time.
    GatewayTooSlow,
    /// The time that the client gave its gRPC call has passed.
    DeadlinePassed,
    /// The routes form a loop.
    Loop,
    /// The client has used up its rate limit.
    Limited {
        /// The seconds until the next request is allowed.
        secs: u32,
    },
    /// All instances that could answer are in maintenance.
    Maintenance,
    /// The breakers of all instances are open.
    BreakerOpen {
        /// The seconds until one of them lets a trial through.
        secs: u32,
    },
    /// All instances are unhealthy by their health checks.
    Unhealthy,
    /// All instances are drained.
    Drained,
}

/// The reason why an attempt at a backend brought no response.
pub(crate) struct AttemptError {
    /// The way in which the attempt failed; retries depend on it.
    pub(crate) failure: AttemptFailure,
    /// The answer to the client if no further attempt is made.
    pub(crate) refusal: Refusal,
    /// The reason in words, for operators.
    pub(crate) cause: AttemptCause,
}

/// The cause of a failed attempt.
#[derive(Clone, Debug)]
pub(crate) struct AttemptCause {
    /// The cause in words.
    pub(crate) words: Cow<'static, str>,
    /// The type of the error (RFC 9209 §2.3).
    pub(crate) error: &'static str,
}

impl AttemptError {
    /// Returns the error of an attempt that must not be repeated.
    pub(crate) fn other(refusal: Refusal) -> Self {
        let words = match refusal {
            Refusal::GatewayTooSlow => "it did not answer in time",
            Refusal::ClientTooSlow => "the client stopped sending its body",
            Refusal::DeadlinePassed => "the deadline of the call passed",
            Refusal::TooLarge { .. } => "the body grew larger than the route allows",
            Refusal::BadRequest => "the body of the client broke off or was malformed",
            _ => "it sent no usable response",
        };
        let cause = AttemptCause { words: words.into(), error: refusal.proxy_error() };
        Self { failure: AttemptFailure::Other, refusal, cause }
    }

    /// Returns the error of an attempt that failed on its connection.
    pub(crate) fn of_connection(failure: AttemptFailure) -> Self {
        let (words, error) = match failure {
            AttemptFailure::Connect => ("no connection to it could be made", "connection_refused"),
            AttemptFailure::NoRoom => ("this server has no room for another connection", "connection_limit_reached"),
            AttemptFailure::Unsent => ("the connection had ended before the request was sent", "connection_terminated"),
            AttemptFailure::Refused => ("it took no further request on the connection", "connection_terminated"),
            AttemptFailure::Http1Required { is_possible: true } => {
                ("it wants HTTP/1.1 for the request in place of HTTP/2", "http_protocol_error")
            }
            AttemptFailure::Http1Required { is_possible: false } => {
                ("it wants HTTP/1.1, which h2c:// excludes; give the backend as http://", "http_protocol_error")
            }
            AttemptFailure::PooledDied => {
                ("the connection that was kept ended before a response", "connection_terminated")
            }
            AttemptFailure::Other => ("it closed the connection, or its response was malformed", "http_protocol_error"),
        };
        let cause = AttemptCause { words: words.into(), error };
        Self { failure, refusal: Refusal::BadGateway, cause }
    }
}

/// The seconds in `Retry-After` while a route is in maintenance.
const MAINTENANCE_SECS: u32 = 300;
/// The seconds in `Retry-After` where nobody knows the time; a new instance usually starts, or a check passes, before long.
const SOON_SECS: u32 = 5;

impl Refusal {
    /// Returns the status of the answer.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Refusal::PlainHttp | Refusal::BadRequest => StatusCode::BAD_REQUEST,
            Refusal::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Refusal::NoUpgrade => StatusCode::FORBIDDEN,
            Refusal::Unmatched => StatusCode::NOT_FOUND,
            Refusal::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Refusal::Redirected => StatusCode::PERMANENT_REDIRECT,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Refusal::Expectation => StatusCode::EXPECTATION_FAILED,
            Refusal::ClientTooSlow => StatusCode::REQUEST_TIMEOUT,
            Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::BadGateway => StatusCode::BAD_GATEWAY,
            Refusal::GatewayTooSlow | Refusal::DeadlinePassed => StatusCode::GATEWAY_TIMEOUT,
            Refusal::Loop => StatusCode::LOOP_DETECTED,
            Refusal::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::TooManyConnections
            | Refusal::NoMemory
            | Refusal::Maintenance
            | Refusal::BreakerOpen { .. }
            | Refusal::Unhealthy
            | Refusal::Drained
            | Refusal::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Returns the seconds after which a client may ask again, where the proxy can say it (RFC 9110 §10.2.3).
    pub(crate) fn retry_after(self) -> Option<u32> {
        match self {
            Refusal::Limited { secs } | Refusal::BreakerOpen { secs } => Some(secs),
            Refusal::Maintenance => Some(MAINTENANCE_SECS),
            Refusal::TooManyConnections
            | Refusal::NoMemory
            | Refusal::Unhealthy
            | Refusal::Drained
            | Refusal::NoRoom => Some(SOON_SECS),
            Refusal::PlainHttp
            | Refusal::BadRequest
            | Refusal::UnknownCoding
            | Refusal::NoUpgrade
            | Refusal::Unmatched
            | Refusal::Misdirected
            | Refusal::Redirected
            | Refusal::Method
            | Refusal::HeadTooLarge
            | Refusal::Expectation
            | Refusal::ClientTooSlow
            | Refusal::TooLarge { .. }
            | Refusal::BadGateway
            | Refusal::GatewayTooSlow
            | Refusal::DeadlinePassed
            | Refusal::Loop => None,
        }
    }

    /// Returns the reason as one word for programs. These words do not change.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Refusal::TooManyConnections => "too_many_connections",
            Refusal::NoMemory => "no_memory",
            Refusal::PlainHttp => "plain_http",
            Refusal::BadRequest => "bad_request",
            Refusal::UnknownCoding => "unknown_transfer_coding",
            Refusal::NoUpgrade => "upgrade_not_allowed",
            Refusal::Unmatched => "no_route",
            Refusal::Misdirected => "misdirected",
            Refusal::Redirected => "https_redirect",
            Refusal::Method => "method_not_allowed",
            Refusal::HeadTooLarge => "head_too_large",
            Refusal::Expectation => "unknown_expectation",
            Refusal::ClientTooSlow => "client_too_slow",
            Refusal::TooLarge { .. } => "body_too_large",
            Refusal::BadGateway => "backend_failed",
            Refusal::NoRoom => "no_room",
            Refusal::GatewayTooSlow => "backend_too_slow",
            Refusal::DeadlinePassed => "deadline_passed",
            Refusal::Loop => "loop",
            Refusal::Limited { .. } => "rate_limited",
            Refusal::Maintenance => "maintenance",
            Refusal::BreakerOpen { .. } => "breaker_open",
            Refusal::Unhealthy => "unhealthy",
            Refusal::Drained => "drained",
        }
    }

    /// Returns the type of the error (RFC 9209 §2.3), where the attempt at a backend knows none.
    pub(crate) fn proxy_error(self) -> &'static str {
        match self {
            Refusal::PlainHttp
            | Refusal::BadRequest
            | Refusal::UnknownCoding
            | Refusal::HeadTooLarge
            | Refusal::Expectation
            | Refusal::ClientTooSlow => "http_request_error",
            Refusal::TooManyConnections | Refusal::NoMemory => "proxy_internal_error",
            Refusal::NoUpgrade
            | Refusal::Misdirected
            | Refusal::Method
            | Refusal::TooLarge { .. }
            | Refusal::Limited { .. } => "http_request_denied",
            Refusal::Unmatched => "destination_not_found",
            Refusal::Redirected => "proxy_internal_response",
            Refusal::BadGateway => "http_protocol_error",
            Refusal::NoRoom => "connection_limit_reached",
            Refusal::GatewayTooSlow | Refusal::DeadlinePassed => "http_response_timeout",
            Refusal::Loop => "proxy_loop_detected",
            Refusal::Maintenance | Refusal::BreakerOpen { .. } | Refusal::Unhealthy | Refusal::Drained => {
                "destination_unavailable"
            }
        }
    }

    /// Returns the sentence on the page.
    pub(crate) fn sentence(self) -> Cow<'static, str> {
        let sentence = match self {
            Refusal::TooManyConnections => "There are too many connections. Try again in a few seconds.",
            Refusal::NoMemory => "There is no memory for the rest of the request. Try again in a few seconds.",
            Refusal::PlainHttp => "This port speaks https, and the request came as plain http.",
            Refusal::BadRequest => "The request could not be understood.",
            Refusal::UnknownCoding => "The request's transfer coding is not supported.",
            Refusal::NoUpgrade => "This address does not change protocols.",
            Refusal::Unmatched => "There is nothing at this address.",
            Refusal::Misdirected => "This connection is not for the address; open another one.",
            Refusal::Redirected => "This address is only served over https.",
            Refusal::Method => "This method is not allowed here.",
            Refusal::HeadTooLarge => "The request's head has more than 64 KiB or 100 fields.",
            Refusal::Expectation => "The request's Expect field may only say 100-continue.",
            Refusal::ClientTooSlow => "The request did not arrive in time.",
            Refusal::TooLarge { max } => {
                return format!("The request's body is larger than the {} that are allowed here.", size(max)).into();
            }
            Refusal::BadGateway => "The service behind this address could not be reached.",
            Refusal::GatewayTooSlow => "The service behind this address did not answer in time.",
            Refusal::DeadlinePassed => "The call's deadline has passed.",
            Refusal::Loop => "The request went round in a circle.",
            Refusal::Limited { .. } => "There were too many requests from your address.",
            Refusal::Maintenance => "The service is being worked on and will be back soon.",
            Refusal::BreakerOpen { .. } | Refusal::Unhealthy | Refusal::Drained | Refusal::NoRoom => {
                "The service behind this address cannot answer now."
            }
        };
        sentence.into()
    }

    /// True if the connection cannot carry another request. Bytes behind a `CONNECT` may be meant for a tunnel that
    /// was not opened (RFC 9110 §9.3.6).
    pub(crate) fn closes(self) -> bool {
        matches!(
            self,
            Refusal::TooManyConnections
                | Refusal::NoMemory
                | Refusal::PlainHttp
                | Refusal::BadRequest
                | Refusal::UnknownCoding
                | Refusal::Method
                | Refusal::HeadTooLarge
                | Refusal::Expectation
                | Refusal::ClientTooSlow
                | Refusal::TooLarge { .. }
        )
    }

    /// Returns the reason phrase of the status.
    pub(crate) fn title(self) -> &'static str {
        self.status().canonical_reason().unwrap_or("Error")
    }
}

/// Returns a number of bytes with the largest unit that divides it.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or_else(|| format!("{bytes} bytes"), |(shift, unit)| format!("{} {unit}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_said_in_words() {
        for (max, said) in [(100 << 20, "100 MiB"), (1 << 30, "1 GiB"), (1536, "1536 bytes"), (10, "10 bytes")] {
            let sentence = Refusal::TooLarge { max }.sentence();
            assert!(sentence.contains(&format!(" {said} ")), "{sentence}");
        }
    }
}
