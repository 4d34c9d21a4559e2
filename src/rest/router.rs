//! The routes and their description. One step registers both, so that neither exists without the other.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;

use crate::lifecycle::Lifecycle;
use crate::operator_auth::{Denied, OperatorAuth};
use crate::registry::Registry;

use super::counted_calls::{CountedCalls, count_call};
use super::problem::Problem;
use super::state::{RestSettings, RestState, StateInner};
use super::{
    audit, backup, config, confirmations, docs, events, exports, history, instance_config, metrics, openapi,
    operations, operator, overview, requests, routes, services, sessions, settings,
};

/// Returns the routes of the REST interface. Work that outlives its request is a task of `lifecycle`.
pub fn router(
    registry: Registry,
    operators: Arc<OperatorAuth>,
    lifecycle: Lifecycle,
    settings: RestSettings,
) -> Router {
    let cors = cors(&settings.cors);
    let state = RestState(Arc::new(StateInner { registry, operators, lifecycle, settings }));
    let (calls, description) = calls().split_for_parts();
    let counted = CountedCalls::new(&state.registry, &description);
    let router = calls
        .merge(docs::routes(&DESCRIPTION))
        .route("/", get(super::index::index))
        .route("/healthz", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .fallback(|| async { Problem::no_such_path() })
        .with_state(state)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(counted, count_call));
    // This layer is outside of the router, because the methods of a path are not known inside.
    let router = Router::new().fallback_service(router).layer(map_response(naming_methods));
    match cors {
        Some(cors) => router.layer(cors),
        None => router,
    }
}

/// Returns `api` without the calls of sessions, for a port that strangers reach: they need no token to register.
pub fn without_sessions(api: Router) -> Router {
    Router::new().fallback_service(api).layer(from_fn(refuse_sessions))
}

async fn refuse_sessions(request: Request, next: Next) -> Response {
    // Routes match the path as it was sent, so nothing else leads to these calls.
    if request.uri().path().starts_with("/v1/session") {
        return Problem::no_such_path().into_response();
    }
    next.run(request).await
}

/// Returns the response to a request that the listener refuses.
pub fn refuse(denied: Denied) -> Response {
    Problem::from(denied).into_response()
}

/// The description in JSON. It is written when first asked for, so that a start does not wait for it.
static DESCRIPTION: LazyLock<Bytes> = LazyLock::new(|| {
    // A description of plain fields always has a JSON form.
    serde_json::to_vec(&document()).unwrap_or_default().into()
});

/// Returns the complete description, as it is served.
pub fn document() -> utoipa::openapi::OpenApi {
    openapi::finish(calls().split_for_parts().1)
}

/// Returns all calls with their descriptions.
fn calls() -> OpenApiRouter<RestState> {
    vec![
        sessions::calls(),
        routes::calls(),
        settings::calls(),
        config::calls(),
        history::calls(),
        confirmations::calls(),
        operations::calls(),
        events::calls(),
        overview::calls(),
        operator::calls(),
        instance_config::calls(),
        services::calls(),
        requests::calls(),
        metrics::calls(),
        audit::calls(),
        backup::calls(),
        exports::calls(),
    ]
    .into_iter()
    .fold(OpenApiRouter::with_openapi(openapi::head()), OpenApiRouter::merge)
}

/// Reports if the server is ready for requests. It is not ready once it begins to stop.
async fn ready(State(state): State<RestState>) -> Response {
    if state.registry.is_draining() || state.lifecycle.stopping().is_cancelled() {
        return Problem::stopping().into_response();
    }
    match state.registry.readiness().await {
        Ok(()) => (StatusCode::OK, "ok").into_response(),
        Err(reasons) => Problem::not_ready(&reasons).into_response(),
    }
}

/// Turns the answer to a wrong method into a problem that names the methods of the path.
async fn naming_methods(mut response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    let Some(allow) = response.headers_mut().remove(header::ALLOW) else { return response };
    let mut named = Problem::no_such_method(allow.to_str().unwrap_or_default()).into_response();
    named.headers_mut().insert(header::ALLOW, allow);
    named
}

/// Answers a request whose handler panicked. Other requests go on; the panic hook writes the log.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let words = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(panic = words.unwrap_or_default(), "a REST request panicked");
    Problem::fault().into_response()
}

/// Returns the layer that allows calls from pages of these origins; `None` without origins.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let allowed: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    if allowed.is_empty() {
        return None;
    }
    let sent = [
        header::AUTHORIZATION,
        header::CONTENT_TYPE,
        header::IF_MATCH,
        header::HeaderName::from_static("last-event-id"),
    ];
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(allowed))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(sent)
        .expose_headers([header::ETAG, header::RETRY_AFTER, header::WWW_AUTHENTICATE])
        .max_age(Duration::from_mins(10));
    Some(layer)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_problem_and_says_nothing_of_its_cause() {
        let faulty = || async { assert_eq!(std::hint::black_box(1), 2, "secret") };
        let router: Router = Router::new().route("/", get(faulty)).layer(CatchPanicLayer::custom(panicked));
        let answer = router.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], super::super::problem::MEDIA_TYPE);
        let body = axum::body::to_bytes(answer.into_body(), 4096).await.unwrap();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }

    #[test]
    fn an_origin_that_is_none_names_nobody() {
        assert!(cors(&[]).is_none() && cors(&["\n".to_owned()]).is_none());
    }
}
