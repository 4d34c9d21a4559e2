//! The description of the calls, for programs and for people.
//!
//! What must hold: a page shows itself whole without asking any other host.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa::openapi::OpenApi;
use utoipa_swagger_ui::Config;

use super::Door;
use super::caller::json;
use super::problem::Problem;

/// `/openapi.json` and the pages under `/docs`.
pub(super) fn routes(api: OpenApi) -> Router<Door> {
    let (api, config) = (Arc::new(api), Arc::new(pages()));
    let page = move |path: &str| shown(path, Arc::clone(&config));
    let front = page.clone();
    Router::new()
        .route("/openapi.json", get(move || async move { json(axum::http::StatusCode::OK, &*api) }))
        .route("/docs", get(|| async { Redirect::permanent("/docs/") }))
        .route("/docs/", get(move || async move { front("index.html") }))
        .route("/docs/{*path}", get(move |Path(path): Path<String>| async move { page(&path) }))
}

/// The badge of an online validator would ask another host.
fn pages() -> Config<'static> {
    Config::from("/openapi.json").validator_url("none").try_it_out_enabled(true).filter(true)
}

fn shown(path: &str, config: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(path, config) {
        Ok(Some(file)) => ([(CONTENT_TYPE, file.content_type)], file.bytes.into_owned()).into_response(),
        Ok(None) => Problem::no_such_path().into_response(),
        Err(error) => {
            tracing::error!(%error, path, "a page of the documentation cannot be shown");
            Problem::fault().into_response()
        }
    }
}
