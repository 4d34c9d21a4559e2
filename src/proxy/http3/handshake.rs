//! The TLS handshake inside QUIC: as over TCP, the `ClientHello` decides about the certificate and the TLS settings.
//!
//! `quinn` wants a session before the `ClientHello` has come, so the session here begins without one and chooses its own once it
//! has. Invariants: a client gets the same certificate as over TCP, and must show the same one; a domain that is not for HTTP/3, and a
//! connection that only asks for a challenge certificate, get no further than this.

use std::any::Any;
use std::sync::Arc;

use arc_swap::ArcSwap;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::crypto::{
    ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, ServerConfig, Session, UnsupportedVersion,
};
use quinn::{ConnectionId, Side};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{TransportError, TransportErrorCode};
use rustls::server::{Accepted, Acceptor};

use crate::certificates::{Certificates, Selection, TlsIdentity};
use crate::traffic::RoutingTable;

/// The most bytes of a `ClientHello`.
const HELLO_BYTES_MAX: usize = 64 * 1024;
/// The most bytes of a record (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 16 * 1024;
/// The record of a handshake message (RFC 8446 §5.1).
const HANDSHAKE_RECORD: [u8; 3] = [22, 3, 1];
/// Alerts of RFC 8446 §6.
const DECODE_ERROR: u8 = 50;
const UNRECOGNIZED_NAME: u8 = 112;
const NO_APPLICATION_PROTOCOL: u8 = 120;

/// Begins sessions, with the certificates and routes of the moment.
pub(super) struct SessionStart {
    certificates: Certificates,
    table: Arc<ArcSwap<RoutingTable>>,
    // It makes the keys of the first packets, which do not depend on the certificate.
    initial: Arc<QuicServerConfig>,
}

impl SessionStart {
    /// Returns nothing if the cryptography lacks what QUIC needs.
    pub(super) fn new(certificates: &Certificates, table: &Arc<ArcSwap<RoutingTable>>) -> Option<Self> {
        let initial = Arc::new(QuicServerConfig::try_from(certificates.before_choice()).ok()?);
        Some(Self { certificates: certificates.clone(), table: Arc::clone(table), initial })
    }

    fn select(&self, hello: &Accepted) -> Result<TlsIdentity, TransportError> {
        let identity = match self.certificates.select(&hello.client_hello()) {
            Selection::Serve(identity) => identity,
            Selection::Unknown => return Err(refused(UNRECOGNIZED_NAME, "no certificate for the name")),
            Selection::Challenge(_) => return Err(refused(NO_APPLICATION_PROTOCOL, "no HTTP/3")),
        };
        if allows_http3(&self.table.load(), identity.name()) {
            Ok(identity)
        } else {
            Err(refused(NO_APPLICATION_PROTOCOL, "no HTTP/3 for the name"))
        }
    }
}

/// Returns true unless the route of the host, for its oldest instance, is not for HTTP/3.
fn allows_http3(table: &RoutingTable, host: Option<&str>) -> bool {
    let pool = host.and_then(|host| table.find(host, "/"));
    pool.and_then(|pool| pool.members().first()).is_none_or(|oldest| oldest.options().http3)
}

fn refused(alert: u8, reason: &str) -> TransportError {
    TransportError { code: TransportErrorCode::crypto(alert), frame: None, reason: reason.to_owned() }
}

impl ServerConfig for SessionStart {
    fn initial_keys(&self, version: u32, client: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        self.initial.initial_keys(version, client)
    }

    fn retry_tag(&self, version: u32, client: &ConnectionId, packet: &[u8]) -> [u8; 16] {
        self.initial.retry_tag(version, client, packet)
    }

    fn start_session(self: Arc<Self>, version: u32, params: &TransportParameters) -> Box<dyn Session> {
        let chosen = Arc::clone(&self.initial).start_session(version, params);
        let hello = Some(Box::new(Hello { start: self, version, params: *params, bytes: Vec::new() }));
        Box::new(ChoosingSession { chosen, hello, identity: None })
    }
}

/// A session that chooses its settings once the `ClientHello` has come. Until then it has those without a certificate, of which only
/// the keys of the first packets are used.
struct ChoosingSession {
    chosen: Box<dyn Session>,
    // `None` once the choice is made.
    hello: Option<Box<Hello>>,
    identity: Option<Arc<TlsIdentity>>,
}

/// A `ClientHello` on its way.
struct Hello {
    start: Arc<SessionStart>,
    version: u32,
    params: TransportParameters,
    bytes: Vec<u8>,
}

impl Hello {
    /// Reads the bytes so far; `None` if more must come.
    fn read(&self) -> Result<Option<Accepted>, TransportError> {
        let length = match self.bytes.as_slice() {
            // The first message is a `ClientHello` (RFC 8446 §4).
            [1, high, middle, low, ..] => u32::from_be_bytes([0, *high, *middle, *low]) as usize + 4,
            [1] | [1, _] | [1, _, _] | [] => return Ok(None),
            _ => return Err(refused(DECODE_ERROR, "not a ClientHello")),
        };
        if length > HELLO_BYTES_MAX {
            return Err(refused(DECODE_ERROR, "the ClientHello is too long"));
        }
        let Some(message) = self.bytes.get(..length) else { return Ok(None) };
        let mut acceptor = Acceptor::default();
        for part in message.chunks(RECORD_BYTES_MAX) {
            let length = u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes();
            let record = [&HANDSHAKE_RECORD, &length[..], part].concat();
            let read = acceptor.read_tls(&mut record.as_slice());
            read.map_err(|_| refused(DECODE_ERROR, "the ClientHello cannot be read"))?;
        }
        acceptor.accept().map_err(|_| refused(DECODE_ERROR, "the ClientHello cannot be read"))
    }
}

impl Session for ChoosingSession {
    fn initial_keys(&self, client: &ConnectionId, side: Side) -> Keys {
        self.chosen.initial_keys(client, side)
    }

    /// Returns the identity that is shown to the client.
    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        Some(Box::new(Arc::clone(self.identity.as_ref()?)))
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.chosen.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.chosen.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.chosen.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.chosen.is_handshaking()
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        let Some(hello) = &mut self.hello else {
            // The data of the handshake are those of the choice, which was told.
            return self.chosen.read_handshake(bytes).map(|_| false);
        };
        hello.bytes.extend_from_slice(bytes);
        let Some(accepted) = hello.read()? else { return Ok(false) };
        let identity = hello.start.select(&accepted)?;
        let config = QuicServerConfig::try_from(Arc::clone(&identity.group().http3));
        let config = config.map_err(|_| refused(DECODE_ERROR, "no cipher suite of QUIC"))?;
        let mut chosen = Arc::new(config).start_session(hello.version, &hello.params);
        chosen.read_handshake(&hello.bytes)?;
        (self.chosen, self.identity, self.hello) = (chosen, Some(Arc::new(identity)), None);
        Ok(true)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.chosen.transport_parameters()
    }

    fn write_handshake(&mut self, bytes: &mut Vec<u8>) -> Option<Keys> {
        if self.hello.is_some() { None } else { self.chosen.write_handshake(bytes) }
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.chosen.next_1rtt_keys()
    }

    fn is_valid_retry(&self, client: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        self.chosen.is_valid_retry(client, header, payload)
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.chosen.export_keying_material(output, label, context)
    }
}
