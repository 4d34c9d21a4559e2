//! The state that all requests of one client connection share.

use std::sync::Arc;

use crate::proxy::client::conn_state::ConnState;
use crate::proxy::upstream::login_conns::LoginConns;
use crate::traffic::Peer;

/// A client connection, as its requests see it.
pub(crate) struct ClientContext {
    /// The address of the peer and the trust in it.
    pub(crate) peer: Peer,
    /// The stage of the connection, shared with its socket and the sweep.
    pub(crate) state: Arc<ConnState>,
    /// The backend connections on which this client has logged in.
    pub(crate) logins: LoginConns,
}
