//! The files and sockets that the process may have open, and accepting connections when they run out.
//!
//! What must hold: connections of one port never take the last files: a port that has less than its part of them
//! still accepts; running out is logged once a second at most by each port.

use std::fmt::Display;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};

use crate::clock;

/// How many may be open.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);

/// For the store, the listeners, the log, name lookups, and checks and probes of backends.
const OWN: usize = 1024;
/// The time that accepting rests when the system has no room for another connection.
const PAUSE: Duration = Duration::from_millis(50);
/// TCP keepalive: after this much silence the first probe, then one each `PROBE`, and the end after three: within a minute.
const KEEPALIVE: Duration = Duration::from_secs(30);
const PROBE: Duration = Duration::from_secs(8);
/// A peer that does not acknowledge what was sent within this time is gone. Streams of events send something every 15 s.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(40);
/// The interval at which a port logs that it cannot accept.
const WARN_EVERY: Duration = Duration::from_secs(1);

/// Raises the number of files that may be open as far as the system allows. Logs when it is lower than the
/// given limits of connections need.
pub fn raise_descriptor_limit(pipe: usize, api: usize, proxy: usize) {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
    let limit = if raised.is_ok() { maximum } else { current };
    let files = limit.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    LIMIT.store(files, Ordering::Relaxed);
    // A client of the proxy needs a connection to a backend besides.
    let needed = proxy.saturating_mul(2).saturating_add(pipe).saturating_add(api).saturating_add(OWN);
    if needed > files {
        tracing::warn!(
            open_files = files,
            needed,
            "the limit of open files ({files}) is lower than the connections may need ({needed}: pipe.connections_max \
             {pipe}, api.connections_max {api}, twice proxy.connections_max {proxy}, and {OWN} besides); raise it \
             (LimitNOFILE= under systemd, `ulimit -n` in a shell) or lower these"
        );
    }
}

/// A port's part of the files, in eighths. One eighth is left to whoever has less than that.
#[derive(Clone, Copy, Debug)]
pub enum DescriptorShare {
    /// Of the pipe, and of the API port.
    Control = 1,
    /// Of the proxy's clients; their connections to backends need as much again.
    Proxy = 3,
}

impl DescriptorShare {
    /// Returns true when files run out and a port with `open` connections has more than its part: the new connection
    /// must be turned away.
    pub fn is_used_up(self, connection: &impl AsFd, open: usize) -> bool {
        // The system gives the lowest free number: what is open is about as many.
        let taken = usize::try_from(connection.as_fd().as_raw_fd()).unwrap_or(0);
        self.is_used_up_of(LIMIT.load(Ordering::Relaxed), taken, open)
    }

    fn is_used_up_of(self, limit: usize, taken: usize, open: usize) -> bool {
        let eighth = limit / 8;
        taken >= limit - eighth && open > eighth.saturating_mul(self as usize)
    }
}

/// Accepts the connections of one port.
#[derive(Debug)]
pub struct PortListener {
    listener: TcpListener,
    /// For the log.
    port: &'static str,
    waits: Rarely,
    refuses: Rarely,
    /// Connections refused since that was last told.
    refused: u64,
}

/// Lets a warning pass once a second.
#[derive(Debug, Default)]
struct Rarely(Option<Instant>);

impl Rarely {
    fn passes(&mut self) -> bool {
        let now = clock::instant();
        let passes = self.0.is_none_or(|last| now.saturating_duration_since(last) >= WARN_EVERY);
        if passes {
            self.0 = Some(now);
        }
        passes
    }
}

impl PortListener {
    /// Accepts from `listener`, called `port` in the log.
    pub fn new(listener: TcpListener, port: &'static str) -> Self {
        Self { listener, port, waits: Rarely::default(), refuses: Rarely::default(), refused: 0 }
    }

    /// Waits for a connection. Where the system has no room for one, waits until it has.
    pub async fn accept(&mut self) -> (TcpStream, std::net::SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    self.warn(&error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Takes note of a connection that was refused, and why; tells how many were, once a second at most: who is refused comes
    /// again.
    pub fn note_refused(&mut self, why: &dyn Display) {
        self.refused += 1;
        if self.refuses.passes() {
            let (port, refused) = (self.port, std::mem::take(&mut self.refused));
            tracing::warn!(port, refused, "connections were refused: {why}");
        }
    }

    fn warn(&mut self, error: &std::io::Error) {
        if self.waits.passes() {
            tracing::warn!(port = self.port, %error, "connections cannot be accepted now; they wait");
        }
    }
}

/// Has the system send what is written at once, and notice within a minute that the peer is gone without a word.
///
/// # Errors
/// Fails when the connection is gone already.
pub fn set_options(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(PROBE).with_retries(3))
}

/// Returns true when something failed because this machine or process has no files, ports or memory left for
/// another connection, which says nothing of whom it was to be made to.
pub fn is_out_of_resources(error: &std::io::Error) -> bool {
    use rustix::io::Errno;
    let own = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::AGAIN];
    Errno::from_io_error(error).is_some_and(|errno| own.contains(&errno))
}

/// Logs, once a second at most, that connections to backends cannot be made.
pub fn warn_used_up() {
    static WARNED: AtomicU64 = AtomicU64::new(0);
    let second = clock::now().0 / 1000;
    if WARNED.swap(second, Ordering::Relaxed) != second {
        tracing::warn!(
            "no files or ports are left for connections to backends; nothing of this is counted against them"
        );
    }
}

/// Returns true when no further file can be opened now: why a name lookup failed is not told otherwise.
pub fn are_descriptors_used_up() -> bool {
    std::fs::File::open("/dev/null").is_err_and(|error| is_out_of_resources(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_with_more_than_its_part_is_turned_away_once_files_run_out() {
        let (limit, crowded) = (800, 700);
        assert!(!DescriptorShare::Control.is_used_up_of(limit, 699, 600), "there is room");
        assert!(DescriptorShare::Control.is_used_up_of(limit, crowded, 101));
        assert!(!DescriptorShare::Control.is_used_up_of(limit, crowded, 100), "it has its part");
        assert!(!DescriptorShare::Proxy.is_used_up_of(limit, crowded, 300));
        assert!(DescriptorShare::Proxy.is_used_up_of(limit, crowded, 301));
        assert!(!DescriptorShare::Proxy.is_used_up_of(usize::MAX, 1_000_000, 500_000), "without a limit");
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_without_a_word_is_noticed_within_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        set_options(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        let probes = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        let silent = socket.tcp_keepalive_time().unwrap() + probes;
        assert!(silent < Duration::from_mins(1), "{silent:?}");
        // What streams send every 15 s is not acknowledged.
        let unacknowledged = socket.tcp_user_timeout().unwrap().unwrap();
        assert!(unacknowledged + Duration::from_secs(15) < Duration::from_mins(1), "{unacknowledged:?}");
    }
}
