//! REST: JSON over HTTP with an `OpenAPI` description, one of the registry's interfaces.
//!
//! A request's life: `caller` says who asks → `extract` reads what is asked into values of the domain → a handler
//! has the registry decide or answer → JSON, or a `problem`. The routes and their description are registered in
//! one step, so that neither can be without the other. It decides nothing about sessions or routes, listens on
//! nothing, and knows no other interface. What must hold: every refusal, whoever finds it, is `application/problem+json`.

mod caller;
mod config;
mod docs;
pub mod dto;
mod events;
mod extract;
mod openapi;
mod operations;
mod operator;
mod overview;
mod problem;
mod router;
mod routes;
mod sessions;
mod settings;
mod state;

pub use router::{document, refuse, router};
pub use state::RestSettings;
