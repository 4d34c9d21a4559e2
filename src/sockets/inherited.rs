//! Listening sockets that the service manager has opened and passes on (`sd_listen_fds(3)`).
//!
//! They stay open while one server ends and the next one starts: connections wait in them and none is refused.
//! Invariants: each socket is given out once; a socket that no port wants is reported, because its connections would
//! wait for ever.

use std::io;
use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;

/// The names of the ports, as `FileDescriptorName=` gives them to sockets.
const PORTS: [&str; 4] = ["pipe", "api", "proxy", "https"];

/// The sockets that were passed to this process and that no port has taken yet.
#[derive(Debug, Default)]
pub struct InheritedSockets(Vec<InheritedSocket>);

#[derive(Debug)]
struct InheritedSocket {
    name: String,
    address: SocketAddr,
    listener: TcpListener,
}

impl InheritedSockets {
    /// Takes the sockets that were passed to this process; `names` has the name of each, separated by colons. Call it
    /// before threads start, because it removes variables from the environment.
    ///
    /// # Errors
    /// If one of them is no listening TCP socket.
    pub fn take(names: &str) -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        let mut names = names.split(':');
        let mut sockets = Vec::new();
        for index in 0..passed.len() {
            let name = names.next().unwrap_or_default().to_owned();
            let Some(listener) = passed.take_tcp_listener(index)? else { continue };
            listener.set_nonblocking(true)?;
            sockets.push(InheritedSocket { name, address: listener.local_addr()?, listener });
        }
        Ok(Self(sockets))
    }

    /// Gives out the socket with the name of a port, or else one without such a name that has the port's number.
    pub fn claim(&mut self, name: &str, configured: SocketAddr) -> Option<TcpListener> {
        let named = self.0.iter().position(|socket| socket.name == name);
        let fits = |socket: &InheritedSocket| {
            !PORTS.contains(&socket.name.as_str()) && socket.address.port() == configured.port()
        };
        let found = named.or_else(|| self.0.iter().position(fits))?;
        Some(self.0.remove(found).listener)
    }

    /// Returns the address of a socket that no port has taken.
    pub fn unclaimed(&self) -> Option<SocketAddr> {
        self.0.first().map(|socket| socket.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_gets_the_socket_of_its_name_or_else_one_of_its_number() {
        let mut addresses = Vec::new();
        let sockets = ["api", "signalbox.socket", "proxy"].map(|name| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            addresses.push(address);
            InheritedSocket { name: name.to_owned(), address, listener }
        });
        let mut sockets = InheritedSockets(sockets.into());
        let mut claim = |name, port| {
            let listener = sockets.claim(name, SocketAddr::from(([0, 0, 0, 0], port)));
            listener.map(|listener| listener.local_addr().unwrap())
        };
        assert_eq!(claim("pipe", addresses[2].port()), None, "that is the socket of the proxy");
        assert_eq!(claim("pipe", 1), None);
        assert_eq!(claim("pipe", addresses[1].port()), Some(addresses[1]));
        assert_eq!(claim("api", 1), Some(addresses[0]));
        assert_eq!(claim("api", 1), None);
        assert_eq!(sockets.unclaimed(), Some(addresses[2]));
    }
}
