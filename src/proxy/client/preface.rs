//! The first bytes of a connection without TLS, which tell HTTP/2 from HTTP/1 (RFC 9113 §3.3).
//!
//! Invariants: no byte is lost; a client of HTTP/1 waits for nothing.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// The bytes with which a client of HTTP/2 begins (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The bytes that are read at first: most heads are shorter.
const FIRST_BYTES: usize = 2048;

/// Reads the first bytes from a client: as many as come at once, or as it takes to tell the protocol. The sweep
/// limits the time.
pub(crate) async fn read<T: AsyncRead + Unpin>(transport: &mut T) -> Vec<u8> {
    let mut first = Vec::new();
    poll_fn(|cx| {
        loop {
            let mut room = [0; FIRST_BYTES];
            let mut buffer = ReadBuf::new(&mut room);
            // The protocol meets the end or the error again.
            let has_failed = ready!(Pin::new(&mut *transport).poll_read(cx, &mut buffer)).is_err();
            first.extend_from_slice(buffer.filled());
            if has_failed || buffer.filled().is_empty() || !is_partial(&first) {
                return Poll::Ready(());
            }
        }
    })
    .await;
    first
}

/// True if HTTP/2 follows.
pub(crate) fn is_http2(first: &[u8]) -> bool {
    first.starts_with(PREFACE)
}

/// True if the bytes may become a preface.
fn is_partial(first: &[u8]) -> bool {
    PREFACE.starts_with(first) && first.len() < PREFACE.len()
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// Returns what is read of bytes that come in these parts.
    async fn first(parts: &[&[u8]]) -> Vec<u8> {
        let (mut client, mut server) = tokio::io::duplex(4096);
        let sent = async {
            for part in parts {
                client.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            drop(client);
        };
        tokio::join!(read(&mut server), sent).0
    }

    #[tokio::test]
    async fn a_preface_is_known_however_it_is_cut() {
        for cut in 0..PREFACE.len() {
            let (one, other) = PREFACE.split_at(cut);
            assert!(is_http2(&first(&[one, other]).await), "cut at {cut}");
        }
        assert!(is_http2(&first(&[&[PREFACE, b"more"].concat()]).await));
    }

    #[tokio::test]
    async fn other_bytes_are_passed_on_as_soon_as_they_are_no_preface() {
        for parts in
            [&[&b"GET / HTTP/1.1\r\n"[..]][..], &[b"P", b"UT / "], &[b"PRI * HTTP/2.0\r\n\r\n", b"XX"], &[b"PR"], &[]]
        {
            let read = first(parts).await;
            assert!(!is_http2(&read) && parts.concat().starts_with(&read), "{parts:?}");
        }
    }
}
