//! The state that all requests of one client connection share.

use std::rc::Rc;
use std::sync::Arc;

use crate::certificates::TlsIdentity;
use crate::proxy::client::conn_state::{ConnStage, ConnState};
use crate::proxy::client::connections::ClientConnections;
use crate::proxy::ticks::Ticks;
use crate::proxy::upstream::login_conns::LoginConns;
use crate::proxy::upstream::read_ahead::ReadAheadPlace;
use crate::traffic::Peer;

/// A client connection, as its requests see it.
pub(crate) struct ClientContext {
    /// The address of the peer and the trust in it.
    pub(crate) peer: Peer,
    /// The identity that was shown to the client; `None` without TLS.
    pub(crate) tls: Option<Rc<TlsIdentity>>,
    /// The stage of the connection, shared with its socket and the sweep.
    pub(crate) state: Arc<ConnState>,
    /// The backend connections on which this client has logged in.
    pub(crate) logins: LoginConns,
    /// The state of the connection that carries this stream; `None` for a connection that carries one request at a time.
    pub(crate) carrier: Option<Arc<ConnState>>,
    /// The place of this stream among those that read ahead; `None` for a connection that carries one request at a time.
    pub(crate) read_ahead: Option<Rc<ReadAheadPlace>>,
}

impl ClientContext {
    /// Returns the state of a new connection. `tls` is the identity that was shown to the client.
    pub(crate) fn new(peer: Peer, tls: Option<Rc<TlsIdentity>>, state: Arc<ConnState>) -> Self {
        Self { peer, tls, state, logins: LoginConns::default(), carrier: None, read_ahead: None }
    }

    /// Returns the state of a new stream on this connection.
    pub(crate) fn of_stream(&self, ticks: &Ticks, read_ahead: ReadAheadPlace) -> Self {
        Self {
            peer: self.peer.clone(),
            tls: self.tls.clone(),
            state: ConnState::new(ConnStage::Busy, ticks),
            logins: LoginConns::default(),
            carrier: Some(Arc::clone(&self.state)),
            read_ahead: Some(Rc::new(read_ahead)),
        }
    }

    /// Sets the tick at which the task of the connection is woken for this request.
    pub(crate) fn wake_at(&self, connections: &ClientConnections, due: Option<u32>) {
        self.state.wake_at(due);
        if let Some(due) = due {
            self.carrier.iter().for_each(|carrier| carrier.wake_by(due));
            connections.note_due(due);
        }
    }
}
