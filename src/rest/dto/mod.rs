//! The types of bodies, paths and query strings, and the descriptions of responses.
//!
//! A value that is read here is a value of the domain, by the domain's own parser; a request type refuses what it
//! does not know. Answers are the views of the registry as they are: the types here that stand for them are
//! only their description. What must hold: a pattern or bound in the description is what is accepted.

pub mod config;
pub mod events;
pub mod numbers;
pub mod operations;
pub mod operator;
pub mod patterns;
pub mod routes;
pub mod sessions;
pub mod settings;
pub mod values;
