//! HTTP/3 to clients: QUIC connections with their streams, and the request and the response that a stream carries.
//!
//! `request` decides about requests in every protocol; `quinn` keeps QUIC, and `h3` the frames on it. Each worker has an endpoint of its
//! own on the UDP port of `https`, so that a request never crosses threads, as with TCP. The system spreads datagrams by
//! the addresses of both sides, so a client whose address changes reaches another worker. That worker does not know the connection and says
//! so (a stateless reset, RFC 9000 §10.3), and the client opens another one. Clients are therefore told not to change their address
//! on purpose (`disable_active_migration`).
//! Early data (0-RTT) is not taken, so that no request can be replayed.
//! Invariants: all streams of a connection run in its task, so that a panic ends that connection only; the bytes that wait for the
//! client, those that it may send ahead, its unfinished heads, and the number of its streams are bounded; no stream waits for ever for a
//! client that takes or sends nothing.

mod connection;
mod endpoint;
mod frame_guard;
mod handshake;
mod pace;
mod request_body;
mod request_head;
mod response_stream;
mod stream;
mod transport;
mod unacked;

pub(crate) use endpoint::{Http3Listener, Http3Start, starts};
