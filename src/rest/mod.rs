//! REST: JSON over HTTP with an `OpenAPI` description, one of the registry's interfaces.
//!
//! The way of a request: `counted_calls` counts it unless the registry does → `caller` identifies the caller → `extract` reads the request into values of the domain → a
//! handler passes a call to the registry → JSON, or a `problem`. One step registers each route together with its
//! description, so that neither exists without the other. It decides nothing about sessions or routes, binds no port,
//! and knows no other interface. Invariant: every refusal is `application/problem+json`, wherever it comes from.

mod audit;
mod backup;
mod call_order;
mod caller;
mod conditions;
mod config;
mod confirmations;
mod counted_calls;
mod docs;
mod events;
mod exports;
mod extract;
mod history;
mod index;
mod instance_config;
mod metrics;
mod metrics_source;
mod openapi;
mod operations;
mod operator;
mod overview;
mod problem;
mod refusal_examples;
mod requests;
mod router;
mod routes;
mod services;
mod sessions;
mod settings;
mod state;
mod values;

pub use metrics_source::MetricsSource;
pub use router::{document, refuse, router, without_sessions};
pub use state::RestSettings;
