//! The values of the domain in JSON: how they are read, written, and described for `OpenAPI`.
//!
//! A payload or a body is a struct of these values. Nothing here knows the call that a value belongs to: the error of a
//! value has no field; the reader adds it. Invariant: the patterns and limits of the description are those that the
//! parsers of the domain accept.

pub(crate) mod numbers;
pub(crate) mod patterns;
pub(crate) mod requests;
pub(crate) mod settings;
pub(crate) mod values;
