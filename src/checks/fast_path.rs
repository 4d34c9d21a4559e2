//! A knock at a backend: a new connection and one request, for the answer to which nobody waits.
//!
//! For health checks, of which there are many and none is in a hurry. A backend that is near has taken the connection and answered
//! within a moment: all that were knocked at together are left alone that long and then looked at in turn, so that the usual check
//! takes neither a task nor a timer nor a watched socket. What takes longer is for `ask` to wait for. What it is not: for
//! requests, which wait for nothing. What must hold: nothing here blocks; a request is sent once, or not at all; every knock is a
//! connection of its own, though not always a socket of its own.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// The time that a backend is left alone.
pub(crate) const MOMENT: Duration = Duration::from_millis(8);

/// A connection that is there or on its way.
#[derive(Debug)]
pub(crate) struct Knock {
    socket: Socket,
    // Until it is sent.
    request: Option<String>,
    is_v4: bool,
}

/// Knocks, and keeps some sockets whose connections are over for the next ones: a fifth of what a knock costs is to open a socket
/// and to close it.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    spare_v4: Vec<Socket>,
    spare_v6: Vec<Socket>,
}

/// Spare sockets of each kind.
const SPARE_MAX: usize = 128;

impl Sockets {
    /// Connects, and sends the request if that can be done at once.
    pub(crate) fn knock(&mut self, address: SocketAddr, request: String) -> io::Result<Knock> {
        let socket = match self.spare(address.is_ipv4()).pop() {
            Some(spare) => spare,
            None => Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?,
        };
        // The packet that ends the handshake may wait for the request and go with it: one less at both ends.
        let _ = socket.set_tcp_quickack(false);
        let mut knock = Knock { socket, request: Some(request), is_v4: address.is_ipv4() };
        // Whether an error only says that the connection is on its way is known when something is sent.
        let connecting = knock.socket.connect(&address.into());
        match knock.send() {
            // It never was on its way; why, was said then.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(connecting.err().unwrap_or(error)),
            sent => sent.map(|()| knock),
        }
    }

    /// Ends a connection. Where the backend has already done so, its socket is kept.
    pub(crate) fn end(&mut self, knock: Knock) {
        let Ok(Some(0)) = knock.read(&mut [0]) else { return };
        let spare = self.spare(knock.is_v4);
        // The backend hears a reset after its own goodbye, and need not wait for late packets (RFC 9293 §3.6.1).
        if spare.len() < SPARE_MAX && rustix::net::connect_unspec(&knock.socket).is_ok() {
            spare.push(knock.socket);
        }
    }

    const fn spare(&mut self, v4: bool) -> &mut Vec<Socket> {
        if v4 { &mut self.spare_v4 } else { &mut self.spare_v6 }
    }
}

impl Knock {
    /// True if the request has gone out.
    pub(crate) fn is_sent(&self) -> bool {
        self.request.is_none()
    }

    /// Sends the request unless it is sent or the connection is still on its way.
    pub(crate) fn send(&mut self) -> io::Result<()> {
        let Some(request) = &self.request else { return Ok(()) };
        match self.socket.send(request.as_bytes()) {
            Ok(sent) if sent < request.len() => return Err(ErrorKind::WriteZero.into()),
            Ok(_) => self.request = None,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads from what has come: how many bytes, 0 at the end; `None` if nothing more has come.
    pub(crate) fn read(&self, room: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.socket).read(room) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            read => read.map(Some),
        }
    }

    /// The connection, for whoever waits on.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.socket.into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::io::Write;
    use std::net::TcpListener;

    use super::*;

    fn until<T>(mut step: impl FnMut() -> Option<T>) -> T {
        let given_up = crate::clock::instant() + Duration::from_secs(10);
        loop {
            if let Some(done) = step() {
                return done;
            }
            assert!(crate::clock::instant() < given_up, "it never came");
            std::thread::yield_now();
        }
    }

    /// A knock whose request has gone out.
    fn sent(sockets: &mut Sockets, listener: &TcpListener) -> Knock {
        let mut knock = sockets.knock(listener.local_addr().unwrap(), "who is there?".to_owned()).unwrap();
        until(|| {
            knock.send().unwrap();
            knock.is_sent().then_some(())
        });
        knock
    }

    /// The backend's end of it, once the request has come.
    fn heard(listener: &TcpListener) -> TcpStream {
        let (mut backend, mut room) = (listener.accept().unwrap().0, [0; 64]);
        assert_eq!(backend.read(&mut room).unwrap(), "who is there?".len());
        backend
    }

    /// A knock that was answered to the end.
    fn answered(sockets: &mut Sockets, listener: &TcpListener) -> Knock {
        let (knock, mut room) = (sent(sockets, listener), [0; 64]);
        assert_eq!(knock.read(&mut room).unwrap(), None, "nothing was said yet");
        heard(listener).write_all(b"me").unwrap();
        assert_eq!(until(|| knock.read(&mut room).unwrap()), 2);
        assert_eq!(until(|| knock.read(&mut room).unwrap()), 0, "closed in good order");
        knock
    }

    #[test]
    fn a_knock_asks_and_hears_without_waiting() {
        for any in ["127.0.0.1:0", "[::1]:0"] {
            let (listener, mut sockets) = (TcpListener::bind(any).unwrap(), Sockets::default());
            let mut knock = answered(&mut sockets, &listener);
            knock.send().unwrap();
            assert_eq!(knock.read(&mut [0]).unwrap(), Some(0), "a request is sent once");
        }
    }

    #[test]
    fn a_socket_is_used_again_for_another_connection() {
        let (listener, mut sockets) = (TcpListener::bind("127.0.0.1:0").unwrap(), Sockets::default());
        let mut names = HashSet::new();
        for _ in 0..3 {
            let knock = answered(&mut sockets, &listener);
            assert!(names.insert(knock.socket.local_addr().unwrap().as_socket()), "a connection of its own");
            assert!(sockets.spare_v4.is_empty());
            sockets.end(knock);
            assert_eq!(sockets.spare_v4.len(), 1);
        }
        let other = TcpListener::bind("[::1]:0").unwrap();
        let knock = answered(&mut sockets, &other);
        sockets.end(knock);
        assert_eq!((sockets.spare_v4.len(), sockets.spare_v6.len()), (1, 1));
    }

    #[test]
    fn a_socket_whose_backend_is_still_there_is_closed() {
        let (listener, mut sockets) = (TcpListener::bind("127.0.0.1:0").unwrap(), Sockets::default());
        let knock = sent(&mut sockets, &listener);
        let mut backend = heard(&listener);
        sockets.end(knock);
        assert!(sockets.spare_v4.is_empty());
        assert_eq!(backend.read(&mut [0]).unwrap(), 0, "in good order, for nothing was left unread");
    }

    #[test]
    fn spare_sockets_are_bounded() {
        let (listener, mut sockets) = (TcpListener::bind("127.0.0.1:0").unwrap(), Sockets::default());
        let knocks: Vec<_> = (0..SPARE_MAX + 2).map(|_| answered(&mut sockets, &listener)).collect();
        knocks.into_iter().for_each(|knock| sockets.end(knock));
        assert_eq!(sockets.spare_v4.len(), SPARE_MAX);
    }

    #[test]
    fn where_nobody_listens_a_knock_fails() {
        // An address of its own: the port is not given to somebody else meanwhile.
        let address = TcpListener::bind("127.6.0.1:0").unwrap().local_addr().unwrap();
        let failed = match Sockets::default().knock(address, "hello".to_owned()) {
            Err(error) => error,
            Ok(mut knock) => until(|| knock.send().err()),
        };
        assert_eq!(failed.kind(), ErrorKind::ConnectionRefused);
    }
}
