//! The UDP socket of a worker and the connections that begin on it.

use std::io;
use std::net::UdpSocket;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use quinn::{Endpoint, EndpointConfig, IdleTimeout, Incoming, ServerConfig, TokioRuntime, TransportConfig, VarInt};
use tokio_util::sync::CancellationToken;

use crate::certificates::Certificates;
use crate::connection_limits::ConnectionRefusal;
use crate::lifecycle;
use crate::proxy::client::conn_state::{ConnStage, ConnState};
use crate::proxy::context::worker::WorkerContext;
use crate::proxy::http2::stream_share::{CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES};
use crate::proxy::http3::connection::{self, ConnPlaces};
use crate::proxy::http3::handshake::SessionStart;
use crate::proxy::http3::unacked::SEND_WINDOW_BYTES;
use crate::proxy::settings::ProxySettings;
use crate::sockets::RefusalLog;
use crate::traffic::{Peer, RoutingTable};

/// The most streams with requests at once (RFC 9114 §6.1 wants 100 or more).
const STREAMS_MAX: u32 = 128;
/// The most streams of the client in one direction: three are needed (RFC 9114 §6.2), others are dropped.
const ONE_WAY_STREAMS_MAX: u32 = 16;
/// The silence after which a client is gone.
const IDLE_TIMEOUT_MS: u32 = 30_000;
/// The silence after which a client is asked if it is still there. A response may be silent for longer.
const PING_AFTER: Duration = Duration::from_secs(12);
/// The most clients that wait for the worker to look at them, and the most bytes that they may send meanwhile.
const INCOMING_MAX: usize = 1024;
const INCOMING_BYTES_MAX: u64 = 64 * 1024;
const INCOMING_BYTES_OF_ALL_MAX: u64 = 8 * 1024 * 1024;
/// The number of handshakes from which on a client must show that its address is its own (RFC 9000 §8.1.2).
const UNVALIDATED_HANDSHAKES_MAX: usize = 64;
/// The most time for the last packets.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// The start of a worker's endpoint: its socket, and the settings.
pub(crate) type Http3Start = (UdpSocket, Http3Settings);

/// Returns the start of an endpoint on each socket.
///
/// # Errors
/// If the cryptography lacks what QUIC needs.
pub(crate) fn starts(
    sockets: Vec<UdpSocket>,
    certificates: &Certificates,
    table: &Arc<ArcSwap<RoutingTable>>,
) -> io::Result<Vec<Http3Start>> {
    if sockets.is_empty() {
        return Ok(Vec::new());
    }
    let settings = Http3Settings::new(certificates, table)?;
    Ok(sockets.into_iter().map(|socket| (socket, settings.clone())).collect())
}

/// The settings of all endpoints. They share their keys, so that every worker knows the tokens of the others, and can tell a
/// client that its connection is lost.
#[derive(Clone)]
pub(crate) struct Http3Settings {
    endpoint: EndpointConfig,
    server: ServerConfig,
}

impl Http3Settings {
    fn new(certificates: &Certificates, table: &Arc<ArcSwap<RoutingTable>>) -> io::Result<Self> {
        let start = SessionStart::new(certificates, table);
        let start = start.ok_or_else(|| io::Error::other("no cipher suite of QUIC"))?;
        let mut server = ServerConfig::with_crypto(Arc::new(start));
        server
            .transport_config(Arc::new(transport()))
            .migration(false)
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES_MAX)
            .incoming_buffer_size_total(INCOMING_BYTES_OF_ALL_MAX);
        Ok(Self { endpoint: EndpointConfig::default(), server })
    }
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS_MAX.into())
        .max_concurrent_uni_streams(ONE_WAY_STREAMS_MAX.into())
        .stream_receive_window(STREAM_WINDOW_BYTES.into())
        .receive_window(CONNECTION_WINDOW_BYTES.into())
        .send_window(SEND_WINDOW_BYTES.into())
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MS))))
        .keep_alive_interval(Some(PING_AFTER))
        .datagram_receive_buffer_size(None);
    transport
}

/// The endpoint of a worker.
pub(crate) struct Http3Listener {
    endpoint: Endpoint,
    refusals: RefusalLog,
}

impl Http3Listener {
    /// Opens the endpoint on a socket. The runtime of the worker must run.
    ///
    /// # Errors
    /// If the system does not have what QUIC needs of a socket.
    pub(crate) fn open((socket, settings): Http3Start) -> io::Result<Self> {
        let Http3Settings { endpoint, server } = settings;
        let endpoint = Endpoint::new(endpoint, Some(server), socket, Arc::new(TokioRuntime))?;
        Ok(Self { endpoint, refusals: RefusalLog::new("proxy over UDP") })
    }

    /// Begins connections until `stop`.
    pub(crate) async fn accept(&self, worker: &Rc<WorkerContext>, stop: &CancellationToken) {
        while let Some(accepted) = stop.run_until_cancelled(self.endpoint.accept()).await {
            let Some(incoming) = accepted else {
                tracing::error!("HTTP/3 has ended on a worker, as its socket failed; clients use HTTP/2");
                return stop.cancelled().await;
            };
            begin(worker, &self.refusals, incoming);
        }
        self.endpoint.set_server_config(None);
    }

    /// Sends the last packets, after all connections have ended.
    pub(crate) async fn close(self) {
        let _ = tokio::time::timeout(CLOSE_MAX, self.endpoint.wait_idle()).await;
    }
}

fn begin(worker: &Rc<WorkerContext>, refusals: &RefusalLog, incoming: Incoming) {
    let mut peer = Peer::new(incoming.remote_address().ip(), &worker.reloadable.get().trusted_proxies);
    peer.secure = true;
    let must_validate = worker.handshakes.total() >= UNVALIDATED_HANDSHAKES_MAX;
    if must_validate && !incoming.remote_address_validated() {
        // It may always be asked while it is not validated.
        return drop(incoming.retry());
    }
    if let Err(full) = make_room(worker, &peer) {
        worker.counters.http3.refused();
        refusals.note(&full);
        return incoming.refuse();
    }
    let state = ConnState::new(ConnStage::Handshake, &worker.ticks);
    let open = worker.connections.enter(&state, &peer);
    let shaking = worker.handshakes.enter(&state, &peer);
    let counted = worker.counters.http3.begin();
    let (id, shaking_id) = (open.id(), shaking.id());
    let task = connection::serve(Rc::clone(worker), incoming, (peer, state), ConnPlaces { open, shaking, counted });
    let abort = lifecycle::spawn_local(task);
    worker.connections.can_cut(id, abort.clone());
    worker.handshakes.can_cut(shaking_id, abort);
}

fn make_room(worker: &WorkerContext, peer: &Peer) -> Result<(), ConnectionRefusal> {
    let now = worker.ticks.now();
    worker.handshakes.make_room_for(peer, ProxySettings::HANDSHAKE_LIMITS, now)?;
    worker.connections.make_room_for(peer, worker.reloadable.get().connection_limits(), now)
}
