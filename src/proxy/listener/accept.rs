//! Accepts the connections of a worker: says for which client each counts, and finds it a place.
//!
//! Serving them is the business of `connection`. Invariants: no connection begins without a place; the address that a PROXY
//! header tells takes the place of the socket's everywhere.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::connection_limits::ConnectionRefusal;
use crate::lifecycle;
use crate::proxy::client::conn_state::{ConnStage, ConnState};
use crate::proxy::context::client::ClientContext;
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::listener::connection::{begin_plain, begin_secure};
use crate::proxy::listener::socket::WorkerSocket;
use crate::proxy::listener::stop::{self, StopPhase};
use crate::proxy::listener::told_address;
use crate::proxy::refusal::Refusal;
use crate::proxy::request::raw_refusal;
use crate::proxy::settings::ProxySettings;
use crate::sockets::{DescriptorShare, PortListener, RefusalLog};
use crate::traffic::Peer;

/// The security of the connections of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    Plain,
    Tls,
}

/// A listener of a worker.
pub(crate) struct WorkerListener {
    listener: TcpListener,
    security: Security,
    /// True if other workers, and the next server, accept from it too.
    is_shared: bool,
}

impl WorkerListener {
    /// Prepares a socket for connections of this security.
    ///
    /// # Errors
    /// If it cannot be watched.
    pub(crate) fn open(socket: WorkerSocket, security: Security) -> io::Result<Self> {
        let WorkerSocket { listener, is_shared } = socket;
        Ok(Self { listener: TcpListener::from_std(listener)?, security, is_shared })
    }
}

/// Accepts connections until the worker must close, and those that wait then. Returns the time for what is in flight.
pub(crate) async fn accept(
    worker: &Rc<WorkerContext>,
    listener: WorkerListener,
    mut phases: watch::Receiver<StopPhase>,
) -> Duration {
    let WorkerListener { listener, security, is_shared } = listener;
    let mut port = PortListener::new(listener, "proxy");
    let mut closing = pin!(stop::closing(&mut phases));
    let grace = loop {
        tokio::select! {
            grace = &mut closing => break grace,
            (socket, peer) = port.accept() => begin(worker, port.refusals(), security, socket, peer),
        }
    };
    // Connections that the kernel has accepted would be reset with the listener. In a shared one they wait for the next
    // server.
    while !is_shared && let Some((socket, peer)) = futures_util::FutureExt::now_or_never(port.accept()) {
        begin(worker, port.refusals(), security, socket, peer);
    }
    grace
}

/// Begins a connection. The address of its client may have to be told first.
fn begin(
    worker: &Rc<WorkerContext>,
    refusals: &Arc<RefusalLog>,
    security: Security,
    socket: TcpStream,
    address: SocketAddr,
) {
    if worker.reloadable.get().expects_proxy_header(address.ip()) {
        begin_told(worker, refusals, security, socket, address);
    } else {
        admit(worker, refusals, security, socket, address.ip());
    }
}

/// Reads the PROXY header of a connection, then begins it as one of the client that the header tells. Until then it
/// counts for no client.
fn begin_told(
    worker: &Rc<WorkerContext>,
    refusals: &Arc<RefusalLog>,
    security: Security,
    mut socket: TcpStream,
    address: SocketAddr,
) {
    let for_many = Peer { trusted: true, ..Peer::new(address.ip(), &[]) };
    if !has_room(worker, refusals, security, &socket, &for_many) {
        return;
    }
    let place = worker.connections.enter(&ConnState::new(ConnStage::Fresh, &worker.ticks), &for_many);
    let (id, worker, refusals) = (place.id(), Rc::clone(worker), Arc::clone(refusals));
    let connections = Rc::clone(&worker.connections);
    let task = async move {
        let told = told_address::read(&mut socket).await;
        drop(place);
        match told {
            Ok(client) => admit(&worker, &refusals, security, socket, client.unwrap_or(address.ip())),
            Err(error) => refusals.note(&format_args!("{error} ({address})")),
        }
    };
    connections.can_cut(id, lifecycle::spawn_local(task));
}

/// Begins a connection of a client whose address is known.
fn admit(worker: &Rc<WorkerContext>, refusals: &RefusalLog, security: Security, socket: TcpStream, client: IpAddr) {
    let mut peer = Peer::new(client, &worker.reloadable.get().trusted_proxies);
    peer.secure = security == Security::Tls;
    if !has_room(worker, refusals, security, &socket, &peer) {
        return;
    }
    let _ = socket.set_nodelay(true);
    match security {
        Security::Plain => begin_plain(worker, socket, peer),
        Security::Tls => begin_secure(worker, socket, peer),
    }
}

/// Returns true if there is room for a connection of `peer`, else refuses it.
fn has_room(
    worker: &Rc<WorkerContext>,
    refusals: &RefusalLog,
    security: Security,
    socket: &TcpStream,
    peer: &Peer,
) -> bool {
    let Err(full) = make_room(worker, peer, socket) else { return true };
    let listener = if security == Security::Tls { &worker.counters.https } else { &worker.counters.http };
    listener.refused();
    refusals.note(&full);
    // A client that expects TLS could not read an answer.
    if security == Security::Plain {
        let state = ConnState::new(ConnStage::Fresh, &worker.ticks);
        let client = Rc::new(ClientContext::new(peer.clone(), None, state));
        // The answer fits into the empty buffer of a socket, or is lost with the socket.
        let _ = socket.try_write(&raw_refusal::answer(worker, &client, Refusal::TooManyConnections));
    }
    false
}

fn make_room(worker: &WorkerContext, peer: &Peer, socket: &TcpStream) -> Result<(), ConnectionRefusal> {
    let now = worker.ticks.now();
    if DescriptorShare::Proxy.is_used_up(socket, worker.connections.total()) {
        return Err(ConnectionRefusal::Files);
    }
    if peer.secure {
        worker.handshakes.make_room_for(peer, ProxySettings::HANDSHAKE_LIMITS, now)?;
    }
    worker.connections.make_room_for(peer, worker.reloadable.get().connection_limits(), now)
}
