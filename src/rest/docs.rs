//! Serves the description of the calls, for programs and for people.
//!
//! Invariant: a page makes no request to another host.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Path;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use utoipa_swagger_ui::Config;

use super::problem::Problem;
use super::state::RestState;

/// Returns the routes of `/openapi.json` and of the pages under `/docs`. Each page is made once; requests share its
/// bytes.
pub(super) fn routes(description: &'static LazyLock<Bytes>) -> Router<RestState> {
    let pages = Arc::new(DocPages::new());
    let front = Arc::clone(&pages);
    Router::new()
        .route(
            "/openapi.json",
            get(move || async move { shown(("application/json".to_owned(), Bytes::clone(description))) }),
        )
        .route("/docs", get(|| async { Redirect::permanent("/docs/") }))
        .route("/docs/", get(move || async move { front.page("index.html") }))
        .route("/docs/{*path}", get(move |Path(path): Path<String>| async move { pages.page(&path) }))
}

type DocPage = (String, Bytes);

fn shown((kind, bytes): DocPage) -> Response {
    ([(CONTENT_TYPE, kind)], bytes).into_response()
}

/// The pages that were requested so far; there are few.
struct DocPages {
    config: Arc<Config<'static>>,
    shown: Mutex<BTreeMap<String, DocPage>>,
}

impl DocPages {
    /// The badge of an online validator is off, because it would send a request to another host.
    fn new() -> Self {
        let config = Config::from("/openapi.json").validator_url("none").try_it_out_enabled(true).filter(true);
        Self { config: Arc::new(config), shown: Mutex::default() }
    }

    fn page(&self, path: &str) -> Response {
        let mut pages = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(page) = pages.get(path) {
            return shown(page.clone());
        }
        match utoipa_swagger_ui::serve(path, Arc::clone(&self.config)) {
            Ok(Some(file)) => {
                let page = (file.content_type, Bytes::from(file.bytes.into_owned()));
                pages.insert(path.to_owned(), page.clone());
                shown(page)
            }
            Ok(None) => Problem::no_such_path().into_response(),
            Err(error) => {
                tracing::error!(%error, path, "a page of the documentation cannot be shown");
                Problem::fault().into_response()
            }
        }
    }
}
