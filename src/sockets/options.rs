//! The options of a connection's socket.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// The silence after which TCP keepalive sends its first probe.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The time between further probes. Three unanswered ones end the connection within a minute.
const PROBE_INTERVAL: Duration = Duration::from_secs(8);
/// The time after which a peer that acknowledges nothing is gone. Event streams send something every 15 s.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(40);

/// Makes the system send written bytes at once, and notice within a minute that a peer is gone silently.
///
/// # Errors
/// If the connection is gone already.
pub fn set_options(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE).with_interval(PROBE_INTERVAL).with_retries(3))
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

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
        // The bytes that event streams send every 15 s stay unacknowledged.
        let unacknowledged = socket.tcp_user_timeout().unwrap().unwrap();
        assert!(unacknowledged + Duration::from_secs(15) < Duration::from_mins(1), "{unacknowledged:?}");
    }
}
