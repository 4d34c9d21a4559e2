//! A plain HTTP/1.1 client and server side: tests send exact bytes and see the exact fields of the other side.

use super::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// A socket whose reads and writes fail after `PATIENCE`, so that no test waits for ever. It may carry TLS.
pub struct Wire<S = TcpStream>(BufReader<S>);

/// A request or response as it was received.
#[derive(Debug)]
pub struct Message {
    /// The first line.
    pub line: String,
    /// Name in lower case, and value.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Wire {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub fn over(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self(BufReader::new(socket))
    }

    pub fn socket(&self) -> &TcpStream {
        self.0.get_ref()
    }

    /// Closes the connection with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(self.socket()).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub fn half_close(&self) {
        self.socket().shutdown(Shutdown::Write).unwrap();
    }
}

impl<S: Read + Write> Wire<S> {
    /// Uses a connection whose socket has its timeouts.
    pub fn on(stream: S) -> Self {
        Self(BufReader::new(stream))
    }

    pub fn stream(&self) -> &S {
        self.0.get_ref()
    }

    /// Sends text or bytes. Returns true if the other side still took them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.get_mut().write_all(bytes.as_ref()).is_ok()
    }

    /// Reads the next head. Returns `None` if the connection ended first.
    pub fn head(&mut self) -> Option<Message> {
        let line = self.line()?;
        let fields = self.fields()?;
        Some(Message { line, fields, body: Vec::new(), trailers: Vec::new() })
    }

    /// Reads the next message with its body. Returns `None` if the connection ended first.
    pub fn message(&mut self) -> Option<Message> {
        let mut message = self.head()?;
        let code = message.line.starts_with("HTTP/").then(|| message.status());
        if code.is_some_and(|code| code == 204 || code == 304 || code < 200) {
            return Some(message);
        }
        if message.field("transfer-encoding") == Some("chunked") {
            loop {
                let chunk = self.chunk()?;
                if chunk.is_empty() {
                    break;
                }
                message.body.extend(chunk);
            }
            message.trailers = self.fields()?;
        } else if let Some(length) = message.field("content-length") {
            message.body = self.exactly(length.parse().unwrap())?;
        } else if code.is_some() {
            self.0.read_to_end(&mut message.body).ok()?;
        }
        Some(message)
    }

    /// Reads the next chunk. The last chunk is empty.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(self.line()?.split(';').next()?, 16).ok()?;
        if size == 0 {
            return Some(Vec::new());
        }
        let chunk = self.exactly(size)?;
        self.line()?;
        Some(chunk)
    }

    pub fn exactly(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; bytes];
        self.0.read_exact(&mut buffer).ok()?;
        Some(buffer)
    }

    /// Returns true if the other side has closed or reset the connection and nothing more can be read.
    pub fn has_ended(&mut self) -> bool {
        match self.0.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(error) => !matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut),
        }
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).ok()?;
        Some(line.strip_suffix("\r\n")?.to_owned())
    }

    pub fn fields(&mut self) -> Option<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Some(fields);
            }
            let (name, value) = line.split_once(':')?;
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

impl Message {
    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{}", self.line))
    }

    /// Returns the target of a request.
    pub fn target(&self) -> &str {
        self.line.split(' ').nth(1).unwrap()
    }

    /// Returns the value of a field that occurs at most once.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.all(name);
        let value = values.next();
        assert_eq!(values.next(), None, "{name} came twice");
        value
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}
