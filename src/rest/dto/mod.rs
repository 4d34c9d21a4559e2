//! The types of bodies, paths and query strings, and the descriptions of responses.
//!
//! Values are read by the parsers of the domain; a request type refuses unknown fields. Answers are the views of the
//! registry; their types here are only the description of those views. Invariant: the patterns and limits of the
//! description are those that the parsers accept.

pub mod config;
pub mod events;
pub mod numbers;
pub mod operations;
pub mod operator;
pub mod patterns;
pub mod routes;
pub mod server;
pub mod sessions;
pub mod settings;
pub mod values;
