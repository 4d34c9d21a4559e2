//! The pages of the proxy's own answers. They name the problem and show nothing of the inside of the server.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Response};

use crate::maintenance_pages::HtmlPage;
use crate::proxy::refusal::Refusal;
use crate::proxy::response::body::ProxyBody;

/// The field on each answer of a route in maintenance (protocol §6).
pub(crate) const MAINTENANCE_MODE: HeaderName = HeaderName::from_static("x-maintenance-mode");

/// Returns the page of a refusal: JSON (RFC 9457) for clients that accept JSON and not HTML, else HTML.
pub(crate) fn refusal_page(refusal: Refusal, accept: &[u8]) -> Response<ProxyBody> {
    let (kind, page) = if wants_json(accept) {
        ("application/problem+json", json(refusal))
    } else {
        ("text/html; charset=utf-8", html(refusal))
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

fn json(refusal: Refusal) -> String {
    let (status, title, detail) = (refusal.status().as_u16(), refusal.title(), refusal.sentence());
    format!(r#"{{"type":"about:blank","title":"{title}","status":{status},"detail":"{detail}"}}"#)
}

fn html(refusal: Refusal) -> String {
    let (status, title, sentence) = (refusal.status().as_u16(), refusal.title(), refusal.sentence());
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{status} {title}</title>\n\
         <style>body{{font:16px/1.5 system-ui,sans-serif;max-width:32em;margin:20vh auto;padding:0 1em}}</style>\n\
         <h1>{status} {title}</h1>\n<p>{sentence}</p>\n</html>\n"
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
            let page = refusal_page(Refusal::Unmatched, accept);
            page.headers().get(CONTENT_TYPE).unwrap().to_str().unwrap().to_owned()
        };
        assert_eq!(kind(b"application/json"), "application/problem+json");
        assert!(kind(b"text/html,application/json;q=0.9").starts_with("text/html"));
        assert!(kind(b"*/*").starts_with("text/html"));
    }

    #[test]
    fn a_problem_is_valid_json() {
        let problem: serde_json::Value = serde_json::from_str(&json(Refusal::BadGateway)).unwrap();
        assert_eq!(problem["status"], 502);
    }
}
