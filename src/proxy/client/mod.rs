//! A client connection: its transport and handshake, its socket, its state, the heads that came on it, and the list of all of them.

pub(crate) mod client_body;
pub(crate) mod client_socket;
pub(crate) mod conn_state;
pub(crate) mod connections;
pub(crate) mod framing;
pub(crate) mod handshake;
pub(crate) mod preface;
pub(crate) mod proxy_header;
pub(crate) mod raw_head;
pub(crate) mod stream_tunnel;
pub(crate) mod transport;
