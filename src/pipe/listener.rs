//! The port of the pipe: accepts connections, and runs each in its own task.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::connection_limits::{ConnectionGuard, ConnectionRefusal, WireProtocol};
use crate::domain::Origin;
use crate::lifecycle::Lifecycle;
use crate::registry::{CallOrigin, Interface, Registry};
use crate::sockets::{self, DescriptorShare, PortListener};
use crate::tls::Acceptor;

use super::connection::{Connection, linger};
use super::settings::PipeSettings;

/// The maximum number of refused connections that wait for the client to read the refusal. Further ones are closed
/// without a message.
const REFUSED_MAX: usize = 64;

/// Accepts connections until `lifecycle` is stopping, and runs each as one of its tasks.
///
/// With `tls`, each connection begins with a handshake. `nonce` returns 128 random bits, from which a session id is
/// made. New `settings` hold for new connections; their `connections` must be the same. To stop the server, call [`Registry::announce_shutdown`] first, so that no session counts as disconnected
/// because of the stop. Keep the registry running until the tasks of `lifecycle` have ended, because connections
/// execute what clients have sent until then.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Acceptor>,
    registry: Registry,
    settings: Arc<ArcSwap<PipeSettings>>,
    lifecycle: Lifecycle,
    nonce: fn() -> u128,
) {
    let tls = tls.as_ref();
    let connections = settings.load().connections.clone();
    let pipe = PipeListener { registry, settings, lifecycle, nonce };
    let refused = Arc::new(Semaphore::new(REFUSED_MAX));
    let stopping = pipe.lifecycle.stopping().clone();
    let mut port = PortListener::new(listener, "pipe");
    while let Some((stream, peer)) = stopping.run_until_cancelled(port.accept()).await {
        let used_up = DescriptorShare::Control.is_used_up(&stream, connections.open());
        match if used_up { Err(ConnectionRefusal::Files) } else { connections.accept(peer.ip()) } {
            Ok(guard) => pipe.start(stream, tls, peer, guard),
            Err(full) => {
                connections.counts().refused();
                port.note_refused(&full);
                pipe.refuse(stream, tls, full, &refused);
            }
        }
    }
}

/// The parts that all connections share.
#[derive(Clone)]
struct PipeListener {
    registry: Registry,
    settings: Arc<ArcSwap<PipeSettings>>,
    lifecycle: Lifecycle,
    nonce: fn() -> u128,
}

impl PipeListener {
    fn start(&self, stream: TcpStream, tls: Option<&Acceptor>, peer: SocketAddr, guard: ConnectionGuard) {
        if let Err(error) = sockets::set_options(&stream) {
            tracing::debug!(%peer, %error, "a pipe connection ended before it began");
            return;
        }
        // The task of a plain connection is smaller, because it holds no TLS state.
        let Some(tls) = tls.cloned() else {
            return self.lifecycle.spawn_one("pipe connection", self.run_connection(stream, peer, guard));
        };
        let pipe = self.clone();
        self.lifecycle.spawn_one("pipe connection", async move {
            tokio::select! {
                accepted = tls.accept(stream) => match accepted {
                    Ok(stream) => pipe.run_connection(stream, peer, guard).await,
                    Err(error) => {
                        guard.activity().handshake_failed();
                        tracing::debug!(%peer, %error, "a pipe connection came to no TLS");
                    }
                },
                () = pipe.lifecycle.stopping().cancelled() => {}
                () = guard.activity().asked_to_close() => {}
            }
        });
    }

    fn run_connection<S>(
        &self,
        stream: S,
        peer: SocketAddr,
        guard: ConnectionGuard,
    ) -> impl Future<Output = ()> + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        tracing::debug!(%peer, "a pipe connection began");
        guard.activity().speaks(WireProtocol::Pipe);
        let mut connection = Connection::new(
            stream,
            guard,
            self.registry.clone(),
            PipeSettings::clone(&self.settings.load()),
            self.lifecycle.clone(),
            self.nonce,
        );
        connection.origin = Some(Origin::of(peer.ip()));
        connection.call_origin = CallOrigin::new(Interface::Pipe, Some(peer.ip()));
        async move {
            let end = connection.run().await;
            tracing::debug!(%peer, end, "a pipe connection ended");
        }
    }

    /// Sends the refusal, and waits until the client has read it, because closing at once could discard it (RFC 9293
    /// §3.6.1).
    fn refuse(&self, stream: TcpStream, tls: Option<&Acceptor>, full: ConnectionRefusal, refused: &Arc<Semaphore>) {
        let Ok(refusing) = Arc::clone(refused).try_acquire_owned() else { return };
        let (tls, stopping) = (tls.cloned(), self.lifecycle.stopping().clone());
        self.lifecycle.spawn_one("pipe refusal", async move {
            let words = format!("ERROR|{full}; try again later\n");
            let said = async {
                match tls {
                    None => send_refusal(stream, &words).await,
                    Some(tls) => send_refusal(tls.accept(stream).await?, &words).await,
                }
            };
            // Ignored: the connection ends in any case.
            let _ = stopping.run_until_cancelled(said).await;
            drop(refusing);
        });
    }
}

/// Sends a short message. It fits the empty buffer of a new connection, so that sending does not wait.
async fn send_refusal(mut stream: impl AsyncRead + AsyncWrite + Unpin, words: &str) -> io::Result<()> {
    stream.write_all(words.as_bytes()).await?;
    linger(&mut stream).await;
    Ok(())
}
