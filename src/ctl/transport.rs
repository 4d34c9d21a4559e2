//! The connection to the API port: TCP, TLS for `https`, and HTTP/2 from the first byte.
//!
//! It keeps the first bytes that the peer sent, because a peer that is no API of Signalbox is known by them.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use rustix::net::{RecvFlags, recv};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use super::failure::CtlFailure;
use super::text::plain;
use super::words::limit;

/// The most first bytes that are kept.
const HEARD_BYTES_MAX: usize = 256;

/// The first bytes that the peer sent on the latest connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        // No code panics while it holds the lock.
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, bytes: &[u8]) {
        self.with(|heard| {
            let room = HEARD_BYTES_MAX.saturating_sub(heard.len());
            heard.extend(bytes.iter().take(room));
        });
    }

    /// Returns true if the peer sent nothing.
    pub(super) fn nothing(&self) -> bool {
        self.with(|heard| heard.is_empty())
    }

    /// Returns what the peer is, if its first bytes are not those of HTTP/2.
    pub(super) fn foreigner(&self, url: &str) -> Option<String> {
        self.with(|heard| foreigner(heard, url))
    }
}

fn foreigner(heard: &[u8], url: &str) -> Option<String> {
    if heard.starts_with(b"HTTP/1") {
        return Some(format!("{url} speaks HTTP/1 and no gRPC; it is not the API port of Signalbox"));
    }
    // An alert of TLS, which answers bytes that are no handshake.
    if heard.starts_with(&[0x15, 0x03]) {
        return Some(format!("{url} speaks TLS; write https://"));
    }
    // HTTP/2 begins with a frame SETTINGS: its length is below 2^16, and its type is 4.
    if heard.is_empty() || (heard.first() == Some(&0) && heard.get(3).is_none_or(|kind| *kind == 4)) {
        return None;
    }
    let line = heard.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let said = plain(String::from_utf8_lossy(line).trim_end());
    Some(format!("{url} is not the API port of Signalbox; it says: {said}"))
}

/// The URL of an API port.
#[derive(Clone, Debug)]
pub(super) struct ApiUrl {
    pub(super) text: String,
    host: String,
    port: u16,
    is_secure: bool,
}

impl ApiUrl {
    /// Reads `http://HOST:PORT` or `https://HOST:PORT`.
    pub(super) fn parse(text: &str) -> Result<Self, CtlFailure> {
        let wrong = |why: &str| {
            CtlFailure::usage(format!(
                "`{}` {why}; write the API as http://HOST:PORT or https://HOST:PORT",
                plain(text)
            ))
        };
        let uri: Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
        let is_secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(wrong("does not begin with http:// or https://")),
        };
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong("has a path"));
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let host = authority.map(http::uri::Authority::host).filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| wrong("has no host"))?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 });
        Ok(Self { text: text.trim_end_matches('/').to_owned(), host, port, is_secure })
    }
}

/// Connects within `patience`.
///
/// # Errors
/// `Unreachable`, with the reason.
pub(super) async fn connect(
    url: &ApiUrl,
    roots: Option<RootCertStore>,
    patience: Duration,
) -> Result<(Channel, Heard), CtlFailure> {
    let heard = Heard::default();
    let failed = |error: &dyn std::fmt::Display| CtlFailure::usage(format!("{}: {error}", url.text));
    let origin: Uri = url.text.parse().map_err(|error| failed(&error))?;
    // The scheme is plain for the library, because the connector below speaks TLS itself.
    let authority = origin.authority().map(ToString::to_string).unwrap_or_default();
    let endpoint = Endpoint::from_shared(format!("http://{authority}")).map_err(|error| failed(&error))?;
    let agent = concat!("signalbox-ctl/", env!("CARGO_PKG_VERSION"));
    let endpoint = endpoint.user_agent(agent).map_err(|error| failed(&error))?.origin(origin);
    let roots = if url.is_secure { Some(roots.unwrap_or_else(machine_roots)) } else { None };
    let (to, sink) = (url.clone(), heard.clone());
    let connector = tower::service_fn(move |_: Uri| {
        let (to, sink, roots) = (to.clone(), sink.clone(), roots.clone());
        async move { open(&to, sink, roots).await.map(TokioIo::new) }
    });
    let connecting = tokio::time::timeout(patience, endpoint.connect_with_connector(connector));
    match connecting.await {
        Ok(Ok(channel)) => Ok((channel, heard)),
        Ok(Err(error)) => Err(CtlFailure::unreachable(match heard.foreigner(&url.text) {
            Some(words) if !url.is_secure => words,
            _ => format!("no server answers at {}: {}", url.text, innermost(&error)),
        })),
        Err(_) => Err(CtlFailure::unreachable(format!("{} does not answer within {}", url.text, limit(patience)))),
    }
}

/// Returns the words of the first cause of an error.
pub(super) fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    plain(&cause.to_string())
}

/// The authorities that this machine trusts.
fn machine_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// A stream of bytes in both directions.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

async fn open(url: &ApiUrl, heard: Heard, roots: Option<RootCertStore>) -> io::Result<Box<dyn Duplex>> {
    heard.with(Vec::clear);
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
    stream.set_nodelay(true)?;
    let stream = HeardStream { stream, heard };
    let Some(roots) = roots else { return Ok(Box::new(stream)) };
    let mut tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from(url.host.clone()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::new(tls)).connect(name, stream).await.map_err(explained)?;
    if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(io::Error::other("it speaks TLS without HTTP/2, so it is not the API port of Signalbox"));
    }
    Ok(Box::new(stream))
}

/// Adds what to do to an error of a handshake.
fn explained(error: io::Error) -> io::Error {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidMessage(_)) => io::Error::other("it does not speak TLS; write http://"),
        Some(rustls::Error::InvalidCertificate(why)) => io::Error::other(format!(
            "its certificate is not trusted ({why}); name the file of its authority with --ca"
        )),
        _ => error,
    }
}

/// A connection that keeps the first bytes of the peer.
struct HeardStream {
    stream: TcpStream,
    heard: Heard,
}

impl HeardStream {
    /// Keeps what the peer has sent before it closed, which nobody reads any more once a write has failed.
    fn hear_the_rest(&self) {
        let mut bytes = [0; HEARD_BYTES_MAX];
        // Past the runtime, which may not know yet that something has come.
        let read = recv(&self.stream, &mut bytes[..], RecvFlags::DONTWAIT).map_or(0, |(read, _)| read);
        self.heard.add(bytes.get(..read).unwrap_or_default());
    }
}

impl AsyncRead for HeardStream {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(task, into);
        let new = into.filled().get(before..).unwrap_or_default();
        self.heard.add(new);
        polled
    }
}

impl AsyncWrite for HeardStream {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(task, bytes);
        if matches!(polled, Poll::Ready(Err(_))) {
            self.hear_the_rest();
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_program_is_known_by_its_first_bytes() {
        let told = |heard: &[u8]| foreigner(heard, "http://a");
        assert_eq!(told(&[0, 0, 24, 4, 0]), None);
        assert_eq!(told(b""), None);
        assert!(told(b"HTTP/1.1 400 Bad Request\r\n").unwrap().contains("speaks HTTP/1"));
        assert!(told(&[0x15, 0x03, 0x03, 0, 2, 2, 10]).unwrap().contains("write https://"));
        let said = told(b"SSH-2.0-x\x1b[2J\r\nmore").unwrap();
        assert!(said.ends_with("it says: SSH-2.0-x\\u{1b}[2J"), "{said}");
        assert!(told(b"\0\0\0\x07").is_some());
    }

    #[test]
    fn a_url_names_a_scheme_and_a_host_alone() {
        for good in ["http://localhost:8182", "https://signalbox.example/", "http://[::1]:1"] {
            let url = ApiUrl::parse(good).unwrap();
            assert!(!url.host.contains('[') && !url.text.ends_with('/'), "{url:?}");
        }
        for bad in ["", "localhost:8182", "ftp://a", "http://", "http://a/b", "http://a/?x", "http://u@a", "http://a b"]
        {
            let failure = ApiUrl::parse(bad).unwrap_err();
            assert_eq!(failure.exit as i32, 2, "{bad}");
            assert!(failure.words.contains("write the API as http://HOST:PORT"), "{failure:?}");
        }
    }
}
