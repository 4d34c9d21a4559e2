//! The pages of the proxy's own answers. They name the problem and show nothing of the inside of the server.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use crate::maintenance_pages::HtmlPage;
use crate::proxy::refusal::Refusal;
use crate::proxy::response::body::ProxyBody;
use crate::traffic::{RequestId, X_REQUEST_ID};

/// The field on each answer of a route in maintenance (protocol §6).
pub(crate) const MAINTENANCE_MODE: HeaderName = HeaderName::from_static("x-maintenance-mode");

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Returns the page of a refusal: JSON (RFC 9457) for clients that accept JSON and not HTML, else HTML. It shows the id of the request.
pub(crate) fn refusal_page(refusal: Refusal, id: &RequestId, accept: &[u8]) -> Response<ProxyBody> {
    let (kind, page) = if wants_json(accept) {
        ("application/problem+json", json(refusal, id))
    } else {
        ("text/html; charset=utf-8", html(refusal, id))
    };
    answer(refusal, page.into(), HeaderValue::from_static(kind))
}

/// Returns the answer of a refusal with the maintenance page that the session named.
pub(crate) fn session_page(refusal: Refusal, (page, kind): HtmlPage) -> Response<ProxyBody> {
    answer(refusal, page, kind)
}

fn answer(refusal: Refusal, page: Bytes, kind: HeaderValue) -> Response<ProxyBody> {
    let mut response = Response::new(ProxyBody::Whole(Some(page)));
    *response.status_mut() = refusal.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(secs) = refusal.retry_after() {
        headers.insert(RETRY_AFTER, secs.into());
    }
    if refusal == Refusal::Maintenance {
        headers.insert(MAINTENANCE_MODE, HeaderValue::from_static("true"));
    }
    if refusal == Refusal::Method {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    }
    if refusal.closes() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Adds the fields that say what the proxy refused: the id of the request, and the type of the error (RFC 9209). `details` are for clients
/// only if the configuration says so. The parameter `request-id` is our own (RFC 9209 §2.2).
pub(crate) fn mark(fields: &mut HeaderMap, id: &RequestId, error: &str, details: Option<&str>) {
    fields.insert(X_REQUEST_ID, id.value());
    let mut status = format!("signalbox; error={error}; request-id=\"{id}\"");
    if let Some(details) = details {
        status.push_str(&format!("; details=\"{}\"", quotable(details)));
    }
    HeaderValue::try_from(status).into_iter().for_each(|status| drop(fields.insert(PROXY_STATUS, status)));
}

/// Returns a text without the characters that a string of a structured field cannot hold as they are (RFC 8941 §3.3.3).
fn quotable(text: &str) -> String {
    let fits = |letter: char| (letter.is_ascii_graphic() || letter == ' ') && letter != '"' && letter != '\\';
    text.chars().map(|letter| if fits(letter) { letter } else { '?' }).collect()
}

fn json(refusal: Refusal, id: &RequestId) -> String {
    let (status, title, detail) = (refusal.status().as_u16(), refusal.title(), refusal.sentence());
    format!(r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}","request_id":"{id}"}}"#)
}

fn html(refusal: Refusal, id: &RequestId) -> String {
    let (status, title, sentence) = (refusal.status().as_u16(), refusal.title(), refusal.sentence());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{status} {title}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:32em;margin:20vh auto;padding:0 1em}}small{{color:#767676}}</style>\n\
         <h1>{status} {title}</h1>\n<p>{sentence}</p>\n<p><small>Request {id}</small></p>\n</html>\n"
    )
}

fn wants_json(accept: &[u8]) -> bool {
    let accepts = |kind: &[u8]| memchr::memmem::find(accept, kind).is_some();
    accepts(b"json") && !accepts(b"html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_goes_to_those_who_ask_for_it() {
        let kind = |accept: &[u8]| {
            let page = refusal_page(Refusal::Unmatched, &RequestId::Number(1), accept);
            page.headers().get(CONTENT_TYPE).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(kind(b"application/json"), "application/problem+json");
        assert!(kind(b"text/html,application/json;q=0.9").starts_with("text/html"));
        assert!(kind(b"*/*").starts_with("text/html"));
    }

    #[test]
    fn a_problem_is_valid_json() {
        let problem: serde_json::Value =
            serde_json::from_str(&json(Refusal::BadGateway, &RequestId::Number(1))).unwrap();
        assert_eq!((&problem["status"], &problem["request_id"]), (&502.into(), &format!("{:032x}", 1).into()));
    }

    #[test]
    fn details_stay_inside_their_quotes() {
        let mut fields = HeaderMap::new();
        mark(&mut fields, &RequestId::Number(1), "dns_error", Some("a \"b\" \\ c\r\nd: caf\u{e9}"));
        assert_eq!(
            fields[PROXY_STATUS],
            format!("signalbox; error=dns_error; request-id=\"{:032x}\"; details=\"a ?b? ? c??d: caf?\"", 1)
        );
        assert_eq!(fields[X_REQUEST_ID].len(), 32);
    }
}
