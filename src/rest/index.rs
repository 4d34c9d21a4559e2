//! The index of the interface, at its root: the links that a program begins with.
//!
//! It tells nothing about what is registered, and needs no token.

use axum::Json;
use serde_json::{Value, json};

/// Returns the index. Its links are relative, so that they hold under any path.
pub(super) async fn index() -> Json<Value> {
    Json(json!({
        "name": "signalbox",
        "version": env!("CARGO_PKG_VERSION"),
        "links": {
            "sessions": "v1/sessions",
            "overview": "v1/overview",
            "instances": "v1/instances",
            "routes": "v1/routes",
            "events": "v1/events",
            "description": "openapi.json",
            "docs": "docs/",
            "metrics": "metrics",
            "alive": "healthz",
            "ready": "readyz",
        },
    }))
}
