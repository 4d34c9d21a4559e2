//! Converts messages into values of the domain, and back.
//!
//! Values are read with the types of the domain; refusals name the field as the .proto files do. Nothing here knows the
//! registry's state. Invariant: no message causes a panic.

mod audit;
mod config;
mod events;
mod history;
mod metadata;
mod operator_views;
mod requests;
mod services;
mod values;
mod views;

pub(super) use events::{subscribe_item, topics, topics_or_all, watch_item};
pub(super) use metadata::{metadata, structure};
pub(super) use requests::request_filter;
pub(super) use services::instance_config;
pub(super) use values::{
    bounded, duration, instance_name, moment, new_route, places, port, required, sections, service_name, session, span,
    timestamp,
};
pub(super) use views::count;
