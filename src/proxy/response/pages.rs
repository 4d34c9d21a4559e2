//! The proxy's own answers: small pages that say what is wrong and nothing of the inside.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tokio::net::TcpStream;

use crate::maintenance_pages::HtmlPage;
use crate::proxy::response::body::Answer;

/// Why a request is not answered by a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The message is none, or could be understood in two ways.
    BadRequest,
    /// A transfer coding that is not passed on.
    UnknownCoding,
    /// The route lets nobody change protocols.
    NoUpgrade,
    /// No route is for it.
    Unmatched,
    /// `CONNECT` and `TRACE` are for no backend.
    Method,
    /// The client expects something else than to be asked for its body.
    Expectation,
    /// The client stopped sending.
    ClientTooSlow,
    /// The body is larger than the route takes, which is so many bytes.
    TooLarge { max: u64 },
    /// No backend could be reached, or its answer was none.
    BadGateway,
    /// This server has no files or ports left for a connection to a backend.
    NoRoom,
    /// The backend did not answer in time.
    GatewayTooSlow,
    /// The routes lead in a circle.
    Loop,
    /// The client has spent its rate limit's budget; some is back in so many seconds.
    Limited { secs: u32 },
    /// All instances that could answer are in maintenance.
    Maintenance,
    /// They have failed too often; one is tried again in so many seconds.
    BreakerOpen { secs: u32 },
    /// They are ill by checks that were asked for.
    Unhealthy,
    /// They are drained.
    Drained,
}

/// Protocol §6: on every answer that a route in maintenance gives.
pub(crate) const MAINTENANCE_MODE: HeaderName = HeaderName::from_static("x-maintenance-mode");
const MAINTENANCE_SECS: u32 = 300;
/// Nobody knows when; a new instance is up or a check passed as a rule before long.
const SOON_SECS: u32 = 5;

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Refusal::BadRequest => StatusCode::BAD_REQUEST,
            Refusal::UnknownCoding => StatusCode::NOT_IMPLEMENTED,
            Refusal::NoUpgrade => StatusCode::FORBIDDEN,
            Refusal::Unmatched => StatusCode::NOT_FOUND,
            Refusal::Method => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Expectation => StatusCode::EXPECTATION_FAILED,
            Refusal::ClientTooSlow => StatusCode::REQUEST_TIMEOUT,
            Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::BadGateway => StatusCode::BAD_GATEWAY,
            Refusal::GatewayTooSlow => StatusCode::GATEWAY_TIMEOUT,
            Refusal::Loop => StatusCode::LOOP_DETECTED,
            Refusal::Limited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Maintenance
            | Refusal::BreakerOpen { .. }
            | Refusal::Unhealthy
            | Refusal::Drained
            | Refusal::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// After how many seconds it is worth asking again, where that is for us to say (RFC 9110 §10.2.3).
    fn retry_after(self) -> Option<u32> {
        match self {
            Refusal::Limited { secs } | Refusal::BreakerOpen { secs } => Some(secs),
            Refusal::Maintenance => Some(MAINTENANCE_SECS),
            Refusal::Unhealthy | Refusal::Drained | Refusal::NoRoom => Some(SOON_SECS),
            Refusal::BadRequest
            | Refusal::UnknownCoding
            | Refusal::NoUpgrade
            | Refusal::Unmatched
            | Refusal::Method
            | Refusal::Expectation
            | Refusal::ClientTooSlow
            | Refusal::TooLarge { .. }
            | Refusal::BadGateway
            | Refusal::GatewayTooSlow
            | Refusal::Loop => None,
        }
    }

    fn sentence(self) -> Cow<'static, str> {
        let sentence = match self {
            Refusal::BadRequest => "The request could not be understood.",
            Refusal::UnknownCoding => "The request's transfer coding is not supported.",
            Refusal::NoUpgrade => "This address does not change protocols.",
            Refusal::Unmatched => "There is nothing at this address.",
            Refusal::Method => "This method is not allowed here.",
            Refusal::Expectation => "The request's Expect field may only say 100-continue.",
            Refusal::ClientTooSlow => "The request did not arrive in time.",
            Refusal::TooLarge { max } => {
                return format!("The request's body is larger than the {} that are allowed here.", size(max)).into();
            }
            Refusal::BadGateway => "The service behind this address could not be reached.",
            Refusal::GatewayTooSlow => "The service behind this address did not answer in time.",
            Refusal::Loop => "The request went round in a circle.",
            Refusal::Limited { .. } => "There were too many requests from your address.",
            Refusal::Maintenance => "The service is being worked on and will be back soon.",
            Refusal::BreakerOpen { .. } | Refusal::Unhealthy | Refusal::Drained | Refusal::NoRoom => {
                "The service behind this address cannot answer now."
            }
        };
        sentence.into()
    }

    /// True if the connection is in no state to carry another request. What follows a `CONNECT` may be meant for a tunnel
    /// that was not opened (RFC 9110 §9.3.6).
    fn closes(self) -> bool {
        matches!(
            self,
            Refusal::BadRequest
                | Refusal::UnknownCoding
                | Refusal::Method
                | Refusal::Expectation
                | Refusal::ClientTooSlow
                | Refusal::TooLarge { .. }
        )
    }

    /// The page: JSON (RFC 9457) for those who ask for it and not for HTML, HTML for all others.
    pub(crate) fn page(self, accept: &[u8]) -> Response<Answer> {
        let (kind, page) = if wants_json(accept) {
            ("application/problem+json", self.json())
        } else {
            ("text/html; charset=utf-8", self.html())
        };
        self.answer(page.into(), HeaderValue::from_static(kind))
    }

    /// A page that the session gave.
    pub(crate) fn own_page(self, (page, kind): HtmlPage) -> Response<Answer> {
        self.answer(page, kind)
    }

    fn answer(self, page: Bytes, kind: HeaderValue) -> Response<Answer> {
        let mut response = Response::new(Answer::Whole(Some(page)));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, kind);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(secs) = self.retry_after() {
            headers.insert(RETRY_AFTER, secs.into());
        }
        if self == Refusal::Maintenance {
            headers.insert(MAINTENANCE_MODE, HeaderValue::from_static("true"));
        }
        if self == Refusal::Method {
            headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
        }
        if self.closes() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn title(self) -> &'static str {
        self.status().canonical_reason().unwrap_or("Error")
    }

    fn json(self) -> String {
        let (status, title, detail) = (self.status().as_u16(), self.title(), self.sentence());
        format!(r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}"}}"#)
    }

    fn html(self) -> String {
        let (status, title, sentence) = (self.status().as_u16(), self.title(), self.sentence());
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{status} {title}</title>\n\
             <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:32em;margin:20vh auto;padding:0 1em}}</style>\n\
             <h1>{status} {title}</h1>\n<p>{sentence}</p>\n</html>\n"
        )
    }
}

/// A number of bytes as people say it.
fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.into_iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or_else(|| format!("{bytes} bytes"), |(shift, unit)| format!("{} {unit}", bytes >> shift))
}

fn wants_json(accept: &[u8]) -> bool {
    let accepts = |kind: &[u8]| memchr::memmem::find(accept, kind).is_some();
    accepts(b"json") && !accepts(b"html")
}

/// Tells a client that there are too many, without waiting for what it wants.
pub(crate) fn turn_away(socket: &TcpStream) {
    refuse(socket, "Too many connections.\n");
}

/// Tells a client that there is no memory for the rest of what it sends.
pub(crate) fn refuse_for_memory(socket: &TcpStream) {
    refuse(socket, "There is no memory for the rest of the request.\n");
}

fn refuse(socket: &TcpStream, sentence: &str) {
    let length = sentence.len();
    let page = format!(
        "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 5\r\n\
         Content-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{sentence}"
    );
    // Fits into the empty buffer of a socket, or is lost with it.
    let _ = socket.try_write(page.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_to_those_who_ask_for_it() {
        let kind = |accept: &[u8]| {
            let page = Refusal::Unmatched.page(accept);
            page.headers().get(CONTENT_TYPE).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(kind(b"application/json"), "application/problem+json");
        assert!(kind(b"text/html,application/json;q=0.9").starts_with("text/html"));
        assert!(kind(b"*/*").starts_with("text/html"));
    }

    #[test]
    fn a_limit_is_said_in_words() {
        for (max, said) in [(100 << 20, "100 MiB"), (1 << 30, "1 GiB"), (1536, "1536 bytes"), (10, "10 bytes")] {
            let sentence = Refusal::TooLarge { max }.sentence();
            assert!(sentence.contains(&format!(" {said} ")), "{sentence}");
        }
    }

    #[test]
    fn a_problem_is_valid_json() {
        let problem: serde_json::Value = serde_json::from_str(&Refusal::BadGateway.json()).unwrap();
        assert_eq!(problem["status"], 502);
    }
}
