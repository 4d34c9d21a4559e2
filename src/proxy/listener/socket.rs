//! The listening sockets of the workers.

use std::io;
#[cfg(feature = "http3")]
use std::net::UdpSocket;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

/// The silence after which the system asks a client whether it is still there. It gives the client up after two minutes.
const KEEPALIVE_AFTER: Duration = Duration::from_mins(1);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_TRIES: u32 = 4;
/// The packets of all connections of a worker share a socket.
#[cfg(feature = "http3")]
const UDP_BUFFER_BYTES: usize = 2 * 1024 * 1024;

/// The listening socket of a worker.
#[derive(Debug)]
pub(crate) struct WorkerSocket {
    pub(crate) listener: TcpListener,
    /// True if other workers, and the next server, accept from it too.
    pub(crate) is_shared: bool,
}

/// Opens a socket for each worker. Returns them with their address. Another server may have the port if it is shared.
///
/// # Errors
/// If the address cannot be bound.
pub(crate) fn listen_each(
    address: SocketAddr,
    workers: usize,
    shares_port: bool,
) -> io::Result<(Vec<WorkerSocket>, SocketAddr)> {
    let first = listen(address, !shares_port)?;
    let address = first.local_addr()?;
    let own = |listener| WorkerSocket { listener, is_shared: false };
    let mut sockets = vec![own(first)];
    for _ in 1..workers {
        sockets.push(own(listen(address, false)?));
    }
    Ok((sockets, address))
}

/// Shares a socket that was passed to this process among the workers.
///
/// # Errors
/// If it cannot be used.
pub(crate) fn share(passed: &TcpListener, workers: usize) -> io::Result<(Vec<WorkerSocket>, SocketAddr)> {
    keep_alive(&SockRef::from(passed))?;
    let share = |_| Ok(WorkerSocket { listener: passed.try_clone()?, is_shared: true });
    Ok(((0..workers).map(share).collect::<io::Result<_>>()?, passed.local_addr()?))
}

/// Opens the socket of a worker. The `first` worker finds out if another server has the port: with `SO_REUSEPORT` alone two servers of
/// one user would share it silently.
///
/// # Errors
/// If the address cannot be bound.
fn listen(address: SocketAddr, first: bool) -> io::Result<TcpListener> {
    if first && address.port() != 0 {
        let probe = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        probe.set_reuse_address(true)?;
        probe.bind(&address.into())?;
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    keep_alive(&SockRef::from(&socket))?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

/// Opens the UDP socket of a worker. The `first` worker finds out if another server has the port.
///
/// # Errors
/// If the address cannot be bound.
#[cfg(feature = "http3")]
pub(crate) fn listen_udp(address: SocketAddr, first: bool) -> io::Result<UdpSocket> {
    if first && address.port() != 0 {
        drop(UdpSocket::bind(address)?);
    }
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    // The packets of a worker wait here while it is busy. The system gives less if it allows less.
    let _ = socket.set_recv_buffer_size(UDP_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(UDP_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Connections inherit it: the loss of a client is noticed however long its response is silent.
fn keep_alive(socket: &SockRef<'_>) -> io::Result<()> {
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_TRIES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_asked_whether_their_client_is_still_there() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = socket2::SockRef::from(&accepted);
        assert_eq!((socket.keepalive().unwrap(), socket.tcp_keepalive_time().unwrap()), (true, KEEPALIVE_AFTER));
    }
}
