//! A short visit to a backend: a new connection, one request, and what has been answered a moment later.
//!
//! For health checks, of which there are many and none is in a hurry. A backend that is near has taken the connection and answered
//! within a moment: the socket is left alone that long and then looked at, so only what a slow backend sends has to be
//! watched for. Per visit that saves two wake-ups and half the calls to the system. What it is not: for requests, which wait for nothing.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::dial::{Unreachable, left};
use crate::clock;

/// How long a backend is left alone; less where a visit may last less than sixteen times as long.
const MOMENT: Duration = Duration::from_millis(8);
const READ_BYTES_MAX: usize = 4096;

/// What visits that began together wait for together: of timers that are set one by one each wakes its thread once more.
#[derive(Clone, Default)]
pub(super) struct Pauses(Arc<Mutex<Option<Pause>>>);

struct Pause {
    ends: Instant,
    over: Shared<BoxFuture<'static, ()>>,
}

impl Pauses {
    /// Waits for about as long as `moment`: no longer, and at least half of it.
    async fn wait(&self, moment: Duration) {
        let over = {
            let now = clock::instant();
            let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let joined = latest
                .as_ref()
                .filter(|pause| (moment / 2..=moment).contains(&pause.ends.saturating_duration_since(now)));
            match joined {
                Some(pause) => pause.over.clone(),
                None => latest.insert(Pause { ends: now + moment, over: sleep(moment).boxed().shared() }).over.clone(),
            }
        };
        over.await;
    }
}

/// A connection on which a request was sent.
pub(super) enum Visited {
    /// Nothing wakes anybody when more comes.
    Alone(std::net::TcpStream),
    Watched(TcpStream),
}

impl Visited {
    /// The same, with somebody woken when more comes.
    pub(super) fn watched(self) -> io::Result<TcpStream> {
        match self {
            Self::Alone(socket) => TcpStream::from_std(socket),
            Self::Watched(socket) => Ok(socket),
        }
    }
}

/// Visits the first of `addresses` that can be connected to before `end`: sends `request`, and reads what has come after a moment.
pub(super) async fn visit(
    pauses: &Pauses,
    addresses: &[IpAddr],
    port: u16,
    request: &[u8],
    read: &mut BytesMut,
    end: Instant,
) -> Result<Visited, Unreachable> {
    let moment = MOMENT.min(left(end) / 16);
    let mut failure = Unreachable::TooSlow;
    for (tried, address) in addresses.iter().enumerate() {
        // An address that swallows packets must leave time for the next.
        let share = left(end) / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(share, tell(SocketAddr::new(*address, port), request, pauses.wait(moment))).await {
            Ok(Ok(Visited::Alone(socket))) => return Ok(listen(socket, read, pauses.wait(moment)).await?),
            Ok(Ok(watched)) => return Ok(watched),
            Ok(Err(error)) => failure = error.into(),
            Err(_) => {}
        }
    }
    Err(failure)
}

/// Connects and sends.
async fn tell(address: SocketAddr, request: &[u8], moment: impl Future<Output = ()>) -> io::Result<Visited> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // Whether an error only says that the connection is on its way is known when something is sent.
    let connecting = socket.connect(&address.into());
    let mut sent = send(&socket, request, connecting)?;
    if sent == 0 {
        moment.await;
        sent = send(&socket, request, Ok(()))?;
    }
    let unsent = request.get(sent..).unwrap_or_default();
    let socket = std::net::TcpStream::from(socket);
    if unsent.is_empty() {
        return Ok(Visited::Alone(socket));
    }
    let mut socket = TcpStream::from_std(socket)?;
    socket.write_all(unsent).await?;
    Ok(Visited::Watched(socket))
}

/// Sends what can be sent now: nothing while the connection is on its way.
fn send(socket: &Socket, request: &[u8], connecting: io::Result<()>) -> io::Result<usize> {
    match socket.send(request) {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => Ok(0),
        // It never was on its way; why, was said then.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(connecting.err().unwrap_or(error)),
        sent => sent,
    }
}

/// Leaves the backend alone for a moment, and reads what has come. An end comes again for whoever reads on.
async fn listen(
    mut socket: std::net::TcpStream,
    read: &mut BytesMut,
    moment: impl Future<Output = ()>,
) -> io::Result<Visited> {
    moment.await;
    let mut came = [0; READ_BYTES_MAX];
    match socket.read(&mut came) {
        Ok(count) => read.put_slice(came.get(..count).unwrap_or_default()),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    Ok(Visited::Alone(socket))
}
