//! Responses on their way to the client.

pub(crate) mod body;
pub(crate) mod compressed;
pub(crate) mod pages;
pub(crate) mod tunnel;
