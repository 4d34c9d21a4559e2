//! The life of a request, from its head to the head of its response.

pub(crate) mod admission;
pub(crate) mod attempts;
pub(crate) mod expect;
pub(crate) mod forward;
pub(crate) mod maintenance;
pub(crate) mod raw_refusal;
pub(crate) mod redirect;
pub(crate) mod target;
pub(crate) mod upstream_request;
pub(crate) mod upstream_response;
