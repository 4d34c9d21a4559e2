//! The REST interface over real sockets. Every answer is checked against the `OpenAPI` description.

pub mod api;
mod browsers;
mod calls;
mod description;
mod events;
mod examples;
mod inside;
mod limits;
mod operators;
mod refusals;
mod secrets;
