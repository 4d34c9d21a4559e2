//! The REST interface, from outside. Every answer is held against the description that is checked in.

pub mod api;
mod browsers;
mod calls;
mod description;
mod events;
mod inside;
mod limits;
mod operators;
mod refusals;
mod secrets;
