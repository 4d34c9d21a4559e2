//! A knock at a backend: a new connection and one request, for the answer to which nobody waits.
//!
//! For health checks, of which there are many and none is in a hurry. A backend that is near has taken the connection and answered
//! within a moment: all that were knocked at together are left alone that long and then looked at in turn, so that the usual check
//! takes neither a task nor a timer nor a watched socket. What takes longer is for `ask` to wait for. What it is not: for
//! requests, which wait for nothing. What must hold: nothing here blocks; a request is sent once, or not at all.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// How long a backend is left alone.
pub(super) const MOMENT: Duration = Duration::from_millis(8);

/// A connection that is there or on its way.
#[derive(Debug)]
pub(super) struct Knock {
    socket: Socket,
    // Until it is sent.
    request: Option<String>,
}

impl Knock {
    /// Connects, and sends the request if that can be done at once.
    pub(super) fn at(address: SocketAddr, request: String) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        // The packet that ends the handshake may wait for the request and go with it: one less at both ends.
        let _ = socket.set_tcp_quickack(false);
        let mut knock = Self { socket, request: Some(request) };
        // Whether an error only says that the connection is on its way is known when something is sent.
        let connecting = knock.socket.connect(&address.into());
        match knock.send() {
            // It never was on its way; why, was said then.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(connecting.err().unwrap_or(error)),
            sent => sent.map(|()| knock),
        }
    }

    /// Whether the request has gone out.
    pub(super) fn is_sent(&self) -> bool {
        self.request.is_none()
    }

    /// Sends the request unless it is sent or the connection is still on its way.
    pub(super) fn send(&mut self) -> io::Result<()> {
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
    pub(super) fn read(&self, room: &mut [u8]) -> io::Result<Option<usize>> {
        match (&self.socket).read(room) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
            read => read.map(Some),
        }
    }

    /// The connection, for whoever waits on.
    pub(super) fn into_stream(self) -> TcpStream {
        self.socket.into()
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_knock_asks_and_hears_without_waiting() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut knock = Knock::at(listener.local_addr().unwrap(), "who is there?".to_owned()).unwrap();
        until(|| {
            knock.send().unwrap();
            knock.is_sent().then_some(())
        });
        let (mut backend, mut room) = (listener.accept().unwrap().0, [0; 64]);
        assert_eq!(backend.read(&mut room).unwrap(), "who is there?".len());
        assert_eq!(knock.read(&mut room).unwrap(), None, "nothing was said yet");
        backend.write_all(b"me").unwrap();
        assert_eq!(until(|| knock.read(&mut room).unwrap()), 2);
        knock.send().unwrap();
        drop(backend);
        assert_eq!(until(|| knock.read(&mut room).unwrap()), 0, "sent once, and closed in good order");
    }

    #[test]
    fn where_nobody_listens_a_knock_fails() {
        // An address of its own: the port is not given to somebody else meanwhile.
        let address = TcpListener::bind("127.6.0.1:0").unwrap().local_addr().unwrap();
        let failed = match Knock::at(address, "hello".to_owned()) {
            Err(error) => error,
            Ok(mut knock) => until(|| knock.send().err()),
        };
        assert_eq!(failed.kind(), ErrorKind::ConnectionRefused);
    }
}
