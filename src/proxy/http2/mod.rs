//! HTTP/2 to clients: a connection with its streams, and the request and the response that a stream carries.
//!
//! `request` decides about requests in every protocol; here are only the frames around them. `h2` keeps the protocol, and most limits
//! on its misuse. Invariants: all streams of a connection run in its task and end with it; a backend's body is read only when
//! the client can take it; the bytes that wait for the client, those that it may send ahead, and the number of its streams are bounded;
//! no stream waits for ever for a client that takes nothing.

pub(crate) mod connection;
mod date;
mod pump;
mod quiet_waker;
pub(crate) mod request_head;
pub(crate) mod response_head;
mod socket;
mod stream;
mod stream_set;
pub(crate) mod stream_share;
