//! The dashboard for operators: a page with its scripts and styles, served at the root of the API port.
//!
//! The page is made of files that are compiled in, and holds no data: everything that it shows comes from the REST
//! interface, with the rights of its caller. Requests that are not for the page pass to the interface behind it.
//! Invariants: the page names no other host, and its policy (CSP) allows none; all its links are relative, so that it
//! works under any path.

mod assets;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use tower::ServiceExt as _;

use crate::traffic::accepts_html;

use assets::{Asset, Assets};

/// The sources that the page may use: this server alone. Nothing on the page runs inline.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);
/// The page is asked for each time, and is small if it has not changed.
const REVALIDATED: HeaderValue = HeaderValue::from_static("no-cache");
/// A file whose path changes with its content.
const IMMUTABLE: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// Returns a router that serves the dashboard to browsers and passes all other requests to `api`.
pub fn in_front_of(api: Router) -> Router {
    Router::new()
        .route("/", get(root).fallback_service(api.clone()))
        .route("/dashboard/{version}/{file}", get(file).fallback_service(api.clone()))
        .fallback_service(api.clone())
        .with_state(api)
}

/// Answers browsers with the page, and programs with the index of the interface.
async fn root(State(api): State<Router>, request: Request) -> Response {
    let mut answer = if accepts_html(request.headers()) {
        answer(&Assets::get().page, REVALIDATED, request.headers())
    } else {
        passed(api, request).await
    };
    answer.headers_mut().append(VARY, HeaderValue::from_static("accept"));
    answer
}

async fn file(State(api): State<Router>, Path((version, name)): Path<(String, String)>, request: Request) -> Response {
    match Assets::get().file(&version, &name) {
        Some(asset) => answer(asset, IMMUTABLE, request.headers()),
        None => passed(api, request).await,
    }
}

async fn passed(api: Router, request: Request) -> Response {
    let Ok(answer) = api.oneshot(request).await;
    answer
}

/// Returns the answer to a request with these fields: the file, or 304 if the caller has it.
fn answer(asset: &Asset, caching: HeaderValue, fields: &HeaderMap) -> Response {
    let is_known = fields.get_all(IF_NONE_MATCH).iter().any(|known| asset.is_in(known));
    let packed = has_gzip(fields);
    let body = if packed { &asset.gzip } else { &asset.bytes };
    let mut answer = Response::new(if is_known { Body::empty() } else { Body::from(Bytes::clone(body)) });
    let set = answer.headers_mut();
    set.insert(ETAG, asset.etag.clone());
    set.insert(CACHE_CONTROL, caching);
    set.insert(VARY, HeaderValue::from_static("accept-encoding"));
    for (name, value) in protection() {
        set.insert(name, value);
    }
    if is_known {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        return answer;
    }
    set.insert(CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    if packed {
        set.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// Returns the fields that tell a browser how little the page may do.
fn protection() -> [(HeaderName, HeaderValue); 5] {
    [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    ]
}

/// Returns true if the caller takes gzip. A weight of 0 means that it does not (RFC 9110 §12.5.3).
fn has_gzip(fields: &HeaderMap) -> bool {
    let codings = fields.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    codings.flat_map(|list| list.split(',')).any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        name.trim().eq_ignore_ascii_case("gzip") && weight != Some(0.0)
    })
}
