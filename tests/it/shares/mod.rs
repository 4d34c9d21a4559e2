//! Fair shares: a greedy peer beside a quiet one.

mod checks;
mod connections;
mod control;
mod http2;
mod memory;
mod patience;
mod ports;
mod probes;
mod sessions;

use std::net::{SocketAddr, TcpStream};

/// A connection from the address 127.0.0.`last` of this machine.
pub fn connect_from(last: u8, to: SocketAddr) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}
