//! The TLS handshake with a client, up to the moment when HTTP begins.
//!
//! Its time has no timer of its own: the sweep cuts a connection that stays in `ConnStage::Handshake`. Invariants: a client that
//! is refused can read why; a connection that only asked for a challenge certificate carries no request.

use std::io;
use std::sync::Arc;

use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::certificates::{Certificates, Selection, TlsIdentity};
use crate::memory_budget::MemoryShare;
use crate::proxy::client::transport::{ClientTls, HandshakeSocket};

/// The most bytes that a client may go on sending after its handshake failed.
const LINGER_BYTES_MAX: usize = 64 * 1024;
/// A fatal alert `unrecognized_name` (RFC 6066 §3, RFC 8446 §6), before any key was agreed on.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// A client with which TLS was agreed on.
pub(crate) struct SecuredClient {
    pub(crate) stream: ClientTls,
    pub(crate) identity: TlsIdentity,
    /// The share of memory of the connection.
    pub(crate) share: MemoryShare,
}

/// The client came to no TLS. The log says why.
pub(crate) struct HandshakeFailed;

/// The reason why no HTTP follows, and the connection if it is still open.
type HandshakeEnd = (io::Error, Option<HandshakeSocket>);

/// The answers that the rest of the proxy gives during a handshake.
pub(crate) struct HandshakeAnswers<H, P> {
    /// Says of the name that the client asks for if it may speak HTTP/2.
    pub(crate) allows_http2: H,
    /// Returns the bytes for a client that speaks plain HTTP.
    pub(crate) plain_answer: P,
}

/// Does the handshake. Returns nothing if the connection only asked for a challenge certificate, or found no memory.
///
/// # Errors
/// [`HandshakeFailed`] if the client came to no TLS.
pub(crate) async fn handshake(
    socket: TcpStream,
    certificates: &Certificates,
    answers: HandshakeAnswers<impl FnOnce(Option<&str>) -> bool, impl FnOnce() -> Vec<u8>>,
    share: MemoryShare,
) -> Result<Option<SecuredClient>, HandshakeFailed> {
    match secure(HandshakeSocket::new(socket, share), certificates, answers).await {
        Ok(secured) => Ok(secured),
        Err((error, socket)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            if let Some(socket) = socket {
                close(socket).await;
            }
            Err(HandshakeFailed)
        }
    }
}

async fn secure(
    socket: HandshakeSocket,
    certificates: &Certificates,
    answers: HandshakeAnswers<impl FnOnce(Option<&str>) -> bool, impl FnOnce() -> Vec<u8>>,
) -> Result<Option<SecuredClient>, HandshakeEnd> {
    let mut hello = LazyConfigAcceptor::new(Acceptor::default(), socket);
    let StartHandshake { accepted, io: mut socket, .. } = match (&mut hello).await {
        Ok(start) => start,
        Err(error) => return Err(not_begun(error, hello.take_io(), answers.plain_answer)),
    };
    let identity = match certificates.select(&accepted.client_hello()) {
        Selection::Serve(identity) => identity,
        Selection::Challenge(config) => {
            let handshake = StartHandshake::from_parts(accepted, socket).into_stream(config).into_fallible();
            let mut stream = handshake.await.map_err(|(error, socket)| (error, Some(socket)))?;
            // The authority has seen the certificate.
            let _ = stream.shutdown().await;
            return Ok(None);
        }
        Selection::Unknown => {
            let _ = socket.write_all(&UNRECOGNIZED_NAME).await;
            return Err((io::Error::other("no certificate for the name"), Some(socket)));
        }
    };
    let group = identity.group();
    let config = Arc::clone(if (answers.allows_http2)(identity.name()) { &group.http2 } else { &group.http1 });
    let handshake = StartHandshake::from_parts(accepted, socket).into_stream(config).into_fallible();
    let mut stream = handshake.await.map_err(|(error, socket)| (error, Some(socket)))?;
    let share = stream.get_mut().0.finish();
    Ok(share.map(|share| SecuredClient { stream, identity, share }))
}

/// Answers HTTP in its own language: its client could not read an alert.
fn not_begun(
    error: io::Error,
    socket: Option<HandshakeSocket>,
    plain_answer: impl FnOnce() -> Vec<u8>,
) -> HandshakeEnd {
    if let Some(socket) = socket.as_ref().filter(|socket| socket.speaks_http()) {
        // It fits into the empty buffer of the socket, or is lost with the socket.
        let _ = socket.tcp().try_write(&plain_answer());
    }
    (error, socket)
}

/// Lets the client read the answer. Closing a socket with unread bytes would reset the connection and discard it (RFC 9293
/// §3.6.1).
async fn close(mut socket: HandshakeSocket) {
    socket.finish();
    if socket.shutdown().await.is_err() {
        return;
    }
    let (mut dropped, mut scratch) = (0, [0; 1024]);
    while let Ok(bytes @ 1..) = socket.read(&mut scratch).await {
        dropped += bytes;
        if dropped > LINGER_BYTES_MAX {
            return;
        }
    }
}
