//! Responses on their way to the client.

pub(crate) mod body;
pub(crate) mod compressed;
pub(crate) mod event_end;
pub(crate) mod event_tracker;
pub(crate) mod frame_tracker;
pub(crate) mod grpc_refusal;
pub(crate) mod refusal_page;
pub(crate) mod streamed;
pub(crate) mod tunnel;
